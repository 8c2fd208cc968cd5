//! The subscription actor: carries out what the core decides.
//!
//! It runs on an arbiter and never blocks: reads, and steps that may take their time, run elsewhere and come back as
//! inputs. What a batch of inputs has brought about goes to the bus as one request, so a busy subscription wakes
//! the bus once for many outcomes; what steps that end at once bring about follows as a second.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, SpawnHandle, StreamHandler};
use foldhash::HashMap;

use super::attempt::{Attempt, Finished, Turn, Workplace};
use super::inbox::Inbox;
use super::leaving::Leaving;
use super::port::{Handed, Input, Port, Recorded, Repaired};
use super::reads::{Question, Reads};
use super::settle::source_of;
use super::states::States;
use super::suspects::Suspicion;
use super::takers::Takers;
use super::{Action, Arrival, Carried, Compensations, Core, Routing, Settings, Start};
use crate::activity::Busy;
use crate::clock::Clock;
use crate::committer::Submitter;
use crate::event::{EventName, Timestamp};
use crate::metrics::{AttemptMeters, Metrics};
use crate::step::{Cancellation, ErasedStep, Lane, Registry};
use crate::store::{Change, Ordinal};

/// Inputs taken at one wake-up.
const TAKEN_AT_ONCE: usize = 256;

/// Changes that may wait for the disk before nothing is started any more.
pub(super) const UNRECORDED_MAX: usize = 16_384;

/// How long a timer runs at most, whatever it waits for: timers stand while the machine is suspended, the clock does not.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// A subscription as it is wired.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own in the config")]
pub struct Subscription {
    /// Its name.
    pub name: String,
    /// Its step.
    pub step: Arc<dyn ErasedStep>,
    /// All steps, for the types of events.
    pub registry: Arc<Registry>,
    /// How it is worked.
    pub limits: Settings,
    /// How long an attempt may run.
    pub timeout: Duration,
    /// Free of outside effects: it may see events before they are on disk.
    pub pure: bool,
    /// Emitted when a delivery dies.
    pub on_dead: Option<EventName>,
    /// A delivery that dies has its flow undone.
    pub compensate: bool,
    /// Whether the key's state before and after each attempt is kept with the delivery.
    pub keep_states: bool,
    /// A person has paused it before this start.
    pub paused: bool,
    /// What the store knows of it beside its queue, filled in when the bus starts.
    pub at_start: AtStart,
}

/// What the store knows of a subscription beside its queue.
#[derive(Debug, Clone, Default)]
pub struct AtStart {
    /// A person has paused the whole bus.
    pub bus_paused: bool,
    /// Keys that a person has parked.
    pub parked_keys: Vec<String>,
    /// What the process may have died of.
    pub suspicion: Suspicion,
}

/// What a subscription actor is made of.
#[derive(Debug)]
pub struct SubscriptionParts {
    pub(crate) subscription: Subscription,
    pub(crate) port: Port,
    pub(crate) inbox: Inbox,
    pub(crate) reads: Reads,
    pub(crate) submitter: Submitter,
    pub(crate) routing: Routing,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) compensations: Compensations,
    pub(crate) starting: Busy,
}

/// The actor of one subscription.
#[derive(Debug)]
pub struct SubscriptionActor {
    pub(super) core: Core<Carried>,
    pub(super) wired: Subscription,
    pub(super) port: Port,
    /// The source of what its steps emit.
    pub(super) source: String,
    pub(super) at: Arc<Workplace>,
    pub(super) routing: Routing,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) meters: AttemptMeters,
    pub(super) compensations: Compensations,
    pub(super) states: States,
    pub(super) running: HashMap<Ordinal, Cancellation>,
    /// Changes of this batch of inputs, and what to note when they are on disk.
    pub(super) outgoing: Vec<(Change, Recorded)>,
    pub(super) actions: Vec<Action<Carried>>,
    /// What starts with this batch of inputs.
    pub(super) starting_now: Vec<Attempt>,
    /// Attempts that have ended; kept for its room.
    pub(super) ended: Vec<Finished>,
    /// What is in hand during a batch of inputs; kept for its room.
    in_hand: Vec<Busy>,
    /// Batches of changes handed in, and those of them that are recorded.
    pub(super) handed_in: u64,
    pub(super) recorded: u64,
    /// Changes handed in and not recorded yet.
    pub(super) unrecorded: usize,
    /// Questions for what lies aside that wait for a batch to be recorded. Before that, the store does not list
    /// what the batch puts aside, and lists what it brings to its end.
    pub(super) unasked: VecDeque<(u64, Question)>,
    /// What was pending before this start is known.
    pub(super) is_restored: bool,
    /// It has said that it need not be handed what commits bring.
    is_deaf: bool,
    /// Repairs that came before.
    pub(super) early_repairs: Vec<Repaired>,
    /// What need not wait any more, told before.
    pub(super) early_hastes: Vec<(Ordinal, String)>,
    pub(super) inbox: Inbox,
    /// Questions to the store that are not answered yet.
    pub(super) asked: usize,
    /// It is to make room.
    pub(super) leaving: Option<Leaving>,
    /// In hand from its making until it has asked what is pending: a bus that has just started is not idle.
    pub(super) starting: Option<Busy>,
    pub(super) timer: Option<(SpawnHandle, Timestamp)>,
    /// Paused itself, and with the whole bus.
    pub(super) paused: (bool, bool),
    pub(super) is_draining: bool,
    /// An attempt that starts when it is on disk that it runs alone.
    pub(super) alone: Option<Start<Carried>>,
}

impl SubscriptionActor {
    pub(crate) fn new(parts: SubscriptionParts) -> Self {
        let seed = parts.port.id.0.into();
        let starting = Some(parts.starting);
        let mut core = Core::new(parts.subscription.limits.clone(), seed);
        let AtStart { bus_paused, parked_keys, suspicion } = &parts.subscription.at_start;
        let paused = (parts.subscription.paused, *bus_paused);
        core.pause(paused.0 || paused.1);
        for key in parked_keys {
            core.park_key(key);
        }
        core.suspect(suspicion.suspects.iter().copied());
        suspicion.convicted.into_iter().for_each(|ordinal| core.convict(ordinal));
        let meters = parts.metrics.attempts_of(&parts.subscription.name);
        let at = Workplace {
            step: Arc::clone(&parts.subscription.step),
            clock: parts.clock.clone(),
            port: parts.port.clone(),
            reads: parts.reads,
            submitter: parts.submitter,
            takers: Takers::default(),
        };
        Self {
            core,
            source: source_of(&parts.subscription.name),
            wired: parts.subscription,
            port: parts.port,
            at: Arc::new(at),
            routing: parts.routing,
            clock: parts.clock,
            meters,
            metrics: parts.metrics,
            compensations: parts.compensations,
            states: States::default(),
            running: HashMap::default(),
            outgoing: Vec::new(),
            actions: Vec::new(),
            starting_now: Vec::new(),
            ended: Vec::new(),
            in_hand: Vec::new(),
            handed_in: 0,
            recorded: 0,
            unrecorded: 0,
            unasked: VecDeque::new(),
            is_restored: false,
            is_deaf: false,
            early_repairs: Vec::new(),
            early_hastes: Vec::new(),
            inbox: parts.inbox,
            asked: 0,
            leaving: None,
            starting,
            timer: None,
            paused,
            is_draining: false,
            alone: None,
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Appended(events) => self.appended(events),
            Input::More => self.noticed(),
            Input::Read(answer) => {
                self.asked = self.asked.saturating_sub(1);
                self.read(answer);
            }
            Input::Ended => self.take_ended(),
            Input::Settled(recorded) => self.settled(recorded),
            Input::Repaired(repaired) => self.repaired(repaired),
            Input::Steer(steer) => self.steer(steer),
            Input::Rewired(new) => self.rewired(*new),
            Input::Leave(tell) => self.leaving = Some(Leaving::Asked(tell)),
            Input::Stay => self.leaving = None,
            Input::End(tell) => self.leaving = Some(Leaving::Ending(tell)),
            Input::Drain => self.drain(),
            Input::Hasten { ordinal, key } if self.is_restored => self.core.hasten(ordinal, &key),
            Input::Hasten { ordinal, key } => self.early_hastes.push((ordinal, key)),
            Input::Interrupt => self.running.values().for_each(Cancellation::cancel),
            Input::Nudge => {}
        }
    }

    fn appended(&mut self, events: Vec<Handed>) {
        self.port.shared.hints.fetch_sub(events.len(), Atomic::AcqRel);
        if !self.is_restored {
            return;
        }
        for Handed { ordinal, seq, event, ready } in events {
            if !self.core.takes(ordinal) {
                self.core.noticed(ordinal);
                continue;
            }
            let Lane { key, decoded } = self.wired.lane(&event);
            // Of one that a person has had tried again only the store knows: it is not taken from here.
            let expires = event.expires();
            // What is handed on straight from a commit was never replayed.
            let item = Carried { event, decoded, generation: 0 };
            self.core.appended(Arrival {
                ordinal,
                seq,
                key,
                ready,
                failures: 0,
                attempts: 0,
                retried: false,
                expires,
                item,
            });
        }
    }

    pub(super) fn noticed(&mut self) {
        if self.is_restored {
            self.core.noticed(self.port.tail());
        }
    }

    fn settled(&mut self, recorded: Vec<Recorded>) {
        self.recorded += 1;
        self.unrecorded = self.unrecorded.saturating_sub(recorded.len());
        for Recorded { ordinal, wrote, attempt: _, undone: _ } in recorded {
            self.core.settled(ordinal);
            if let Some(key) = wrote {
                self.states.synced(&key);
            }
        }
    }

    pub(super) fn repaired(&mut self, repaired: Repaired) {
        if !self.is_restored {
            // What was read of it before the repair may be yet to come.
            self.early_repairs.push(repaired);
            return;
        }
        // One that was read before this, and has died again since, holds its key anew.
        if self.core.repaired(repaired.ordinal, &repaired.key, repaired.how) {
            self.port.unpark(&repaired.key, repaired.ordinal);
        }
    }

    /// Lets the core decide until there is nothing left to do, and starts what it wants started; what is at its end at once
    /// makes room for more.
    fn advance(&mut self, ctx: &mut Context<Self>) {
        let mut turn = Turn::default();
        self.decide(ctx);
        loop {
            self.note_started();
            let ended = turn.start_all(&mut self.starting_now);
            if ended.is_empty() {
                return;
            }
            for finished in ended {
                self.finished(finished);
            }
            self.decide(ctx);
        }
    }

    fn decide(&mut self, ctx: &mut Context<Self>) {
        if !self.is_restored {
            // Nothing may start before it is known what waits and which keys stand behind a dead letter.
            return;
        }
        // Before anything starts that may stand on it.
        self.hand_in();
        if self.leaving.is_some() {
            // Nothing is decided any more: the next actor reads how it stands from the store.
            return;
        }
        if self.unrecorded >= UNRECORDED_MAX {
            // The disk is behind: what is recorded next brings it back here.
            self.show();
            return self.ask_aside();
        }
        loop {
            self.poll(ctx);
            if !self.attend() {
                return self.show();
            }
        }
    }

    /// Says whether it wants to be handed what commits bring: each time is a wake-up, for nothing where there are many others to
    /// read first. `true` when it begins to want that: something may have come before.
    fn attend(&mut self) -> bool {
        let is_deaf = self.core.is_deaf();
        if is_deaf == self.is_deaf {
            return false;
        }
        self.is_deaf = is_deaf;
        self.port.turn_deaf(is_deaf);
        self.noticed();
        !is_deaf
    }

    fn poll(&mut self, ctx: &mut Context<Self>) {
        let mut actions = std::mem::take(&mut self.actions);
        let mut asides = Vec::new();
        self.core.poll(self.clock.now(), &mut actions);
        for action in actions.drain(..) {
            match action {
                Action::Fetch { after, limit } => {
                    self.ask(Question::Queue { after, limit });
                }
                Action::FetchDeferred { key, limit } => {
                    asides.push(Question::Deferred { key: key.to_string(), limit });
                }
                Action::Load { ordinal } => self.ask(Question::One { ordinal }),
                Action::Start(start) if start.alone => self.start_alone(start),
                Action::Start(start) => self.start(start),
                Action::GiveUp(given_up) => self.give_up(given_up),
                Action::Breaker(state) => self.breaker_turned(state),
                Action::Defer { ordinal, key } => {
                    let change = Change::Defer { subscription: self.port.id, ordinal, key: key.to_string() };
                    self.outgoing
                        .push((change, Recorded { ordinal, wrote: None, attempt: None, undone: None }));
                }
                Action::WakeAt(at) => self.wake_at(at, ctx),
            }
        }
        self.actions = actions;
        // Behind the changes of this batch, which are handed in now.
        let behind = self.handed_in + u64::from(!self.outgoing.is_empty());
        self.unasked.extend(asides.into_iter().map(|question| (behind, question)));
        self.hand_in();
        self.ask_aside();
    }

    fn ask_aside(&mut self) {
        while let Some((_, question)) = self.unasked.pop_front_if(|(behind, _)| *behind <= self.recorded) {
            self.ask(question);
        }
    }

    pub(super) fn ask(&mut self, question: Question) {
        self.asked += 1;
        self.at.reads.ask(&self.port, question);
    }

    /// Keeps one timer, for the earliest time asked for. A clock moved by hand nudges instead.
    fn wake_at(&mut self, at: Timestamp, ctx: &mut Context<Self>) {
        if self.clock.is_manual() {
            self.port.shared.wake.store(at.0, Atomic::Release);
            return;
        }
        if let Some((handle, planned)) = self.timer {
            if planned == at {
                return;
            }
            ctx.cancel_future(handle);
        }
        let wait = Duration::from_millis(at.millis_since(self.clock.now()));
        let handle = ctx.run_later(wait.min(LONGEST_SLEEP), |this, ctx| {
            this.timer = None;
            this.core.woken();
            let _in_hand = this.port.busy();
            this.advance(ctx);
        });
        self.timer = Some((handle, at));
    }
}

impl Actor for SubscriptionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.add_stream(self.inbox.clone().chunks(TAKEN_AT_ONCE));
        self.show();
        self.ask(Question::Pending { after: Ordinal(0) });
        drop(self.starting.take());
    }
}

impl Drop for SubscriptionActor {
    /// Whoever looks at a subscription whose actor is gone shall see that it does not run.
    fn drop(&mut self) {
        if let Some(Leaving::Ending(tell)) = self.leaving.take() {
            let _is_awaited = tell.send(()).is_ok();
        } else {
            self.port.shared.broken.store(true, Atomic::Release);
            self.inbox.close();
        }
    }
}

impl StreamHandler<Vec<(Input, Busy)>> for SubscriptionActor {
    fn handle(&mut self, inputs: Vec<(Input, Busy)>, ctx: &mut Self::Context) {
        let mut in_hand = std::mem::take(&mut self.in_hand);
        for (input, busy) in inputs {
            self.take(input);
            in_hand.push(busy);
        }
        self.advance(ctx);
        self.leave(ctx);
        in_hand.clear();
        self.in_hand = in_hand;
    }
}
