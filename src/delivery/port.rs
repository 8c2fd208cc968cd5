//! The way into a subscription actor: what others tell it, and how hints stay bounded.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::HashMap;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::activity::{Activity, Busy, Incoming};
use crate::event::{Envelope, Timestamp};
use crate::store::{Ordinal, Seq, SubscriptionId};

use super::inbox::Inbox;
use super::leaving::Rewired;
use super::look::{PortLook, RunningAttempt};
use super::reads::Answer;
use super::steering::Steer;
use super::{Mended, Order};

/// Most events handed to one subscription straight from a commit and not yet looked at. Beyond that the
/// subscription is only told that there is more, and reads it from the store when it has room.
const HINTS_MAX: usize = 4_096;

/// What a subscription actor is told.
#[derive(Debug)]
pub(crate) enum Input {
    /// Events that have just entered its queue.
    Appended(Vec<Handed>),
    /// There may be more in the queue than it was told.
    More,
    /// What it asked the store for.
    Read(Answer),
    /// Attempts have ended: they stand with the [`Takers`](super::takers::Takers).
    Ended,
    /// Outcomes and deliveries put aside are on disk.
    Settled(Vec<Recorded>),
    /// A person acted on a dead letter.
    Repaired(Repaired),
    /// A person or the config steers it.
    Steer(Steer),
    /// A delivery that waits for its time need not wait any more.
    Hasten { ordinal: Ordinal, key: String },
    /// The wiring says something else of it now.
    Rewired(Box<Rewired>),
    /// Start nothing any more, and tell when nothing is under way.
    Leave(oneshot::Sender<()>),
    /// Go on after all.
    Stay,
    /// Make room for another actor; nothing is under way.
    End(oneshot::Sender<()>),
    /// Start nothing any more; attempts that run may end.
    Drain,
    /// End the attempts that still run; they count as nothing.
    Interrupt,
    /// The clock was moved by hand.
    Nudge,
}

/// An event handed on straight from the commit that stored it.
#[derive(Debug, Clone)]
pub(crate) struct Handed {
    pub(crate) ordinal: Ordinal,
    pub(crate) seq: Seq,
    pub(crate) event: Arc<Envelope>,
    pub(crate) ready: Timestamp,
}

/// A change of this subscription that is on disk.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) ordinal: Ordinal,
    /// The key whose state was written with it.
    pub(crate) wrote: Option<Arc<str>>,
    /// The attempt whose outcome it is.
    pub(crate) attempt: Option<Ended>,
    /// The flow whose undoing begins with it.
    pub(crate) undone: Option<String>,
}

/// An attempt that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) seq: Seq,
    pub(crate) number: u32,
    pub(crate) event: Arc<Envelope>,
}

impl Ended {
    pub(crate) fn tried(&self) -> Tried<'_> {
        (self.seq, self.number, &self.event.flow)
    }
}

/// An attempt as the port knows it: its event, its number, its flow.
pub(crate) type Tried<'a> = (Seq, u32, &'a str);

/// A repair that is on disk.
#[derive(Debug, Clone)]
pub(crate) struct Repaired {
    pub(crate) ordinal: Ordinal,
    pub(crate) key: String,
    pub(crate) how: Mended,
}

/// The sending end of a subscription actor. Cheap to clone; usable from any thread.
#[derive(Debug, Clone)]
pub struct Port {
    /// The subscription.
    pub id: SubscriptionId,
    /// Its name.
    pub name: Arc<str>,
    /// May see an event before it is on disk.
    pub runs_ahead: bool,
    /// Whether deliveries of one key wait for each other.
    pub order: Order,
    pub(crate) inputs: mpsc::UnboundedSender<(Input, Busy)>,
    pub(crate) shared: Arc<Shared>,
    activity: Activity,
    flows: FlowBell,
}

/// Tells who watches a flow that it may read differently, though nothing was committed. It is rung for
/// every attempt, so it has to cost next to nothing when nobody watches.
#[derive(Clone)]
pub(crate) struct FlowBell(Arc<dyn Fn(&str) + Send + Sync>);

impl FlowBell {
    pub(crate) fn new(ring: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(ring))
    }
}

impl Default for FlowBell {
    /// Nobody watches.
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl std::fmt::Debug for FlowBell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FlowBell")
    }
}

/// What a subscription actor shows to other threads.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Hints under way to the actor.
    pub(crate) hints: AtomicUsize,
    /// The newest ordinal known to be in the queue.
    tail: AtomicU64,
    /// Events that are handed on would change nothing.
    is_deaf: AtomicBool,
    /// Attempts that run now.
    pub(crate) running: Mutex<HashMap<Seq, RunningAttempt>>,
    /// Keys that wait behind a dead letter.
    pub(crate) parked: Mutex<HashMap<String, BTreeSet<Ordinal>>>,
    /// Keys that a person has parked.
    pub(crate) hands: Mutex<HashSet<String>>,
    /// How it stands, as the actor saw it last.
    pub(crate) look: Mutex<PortLook>,
    /// Rung when an attempt has ended, and when the actor has shown itself anew.
    pub(crate) moved: Notify,
    /// The store could not be read: nothing is delivered any more.
    pub(crate) broken: AtomicBool,
    /// When it wants to look again, by a clock that is moved by hand; zero for not at all.
    pub(crate) wake: AtomicU64,
}

impl Port {
    /// A port and the end from which the actor takes its inputs.
    pub(crate) fn new(id: SubscriptionId, name: &str, runs_ahead: bool, activity: Activity) -> (Self, Inbox) {
        let (inputs, incoming) = Incoming::channel();
        let (shared, flows) = (Arc::default(), FlowBell::default());
        let order = Order::default();
        let port = Self { id, name: name.into(), runs_ahead, order, inputs, shared, activity, flows };
        (port, Inbox::new(incoming))
    }

    /// The same port, of a subscription with this order.
    pub(crate) fn ordered(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// The same port, that rings `flows` when an attempt starts or ends.
    pub(crate) fn ringing(self, flows: FlowBell) -> Self {
        Self { flows, ..self }
    }

    /// The same port for another actor, that has read nothing yet.
    pub(crate) fn renewed(&self, runs_ahead: bool, order: Order) -> Self {
        self.shared.parked.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.shared.wake.store(0, Ordering::Release);
        self.shared.broken.store(false, Ordering::Release);
        self.turn_deaf(false);
        Self { runs_ahead, order, ..self.clone() }
    }

    /// Notes that its queue has a place; `true` when the actor wants to be handed the event. Only of an event that readers see: it
    /// looks for it in the store otherwise.
    ///
    /// # Guarantees
    /// A place of which it is not told it finds at [`Port::tail`], which it looks at after it has said that it hears again: here the
    /// place is noted before that is asked.
    pub(crate) fn note_place(&self, place: Ordinal) -> bool {
        self.shared.tail.fetch_max(place.0, Ordering::SeqCst);
        !self.shared.is_deaf.load(Ordering::SeqCst)
    }

    /// Says whether events that are handed on would change nothing. Whoever says that they would looks at [`Port::tail`] then.
    pub(crate) fn turn_deaf(&self, is_deaf: bool) {
        self.shared.is_deaf.store(is_deaf, Ordering::SeqCst);
    }

    /// The newest place known to be in the queue.
    pub(crate) fn tail(&self) -> Ordinal {
        Ordinal(self.shared.tail.load(Ordering::SeqCst))
    }

    /// Hands on events of a commit that it [wants](Port::note_place), or only tells that there are some when too many are under way.
    pub(crate) fn hand(&self, events: Vec<Handed>) {
        if self.shared.hints.load(Ordering::Acquire) < HINTS_MAX {
            self.shared.hints.fetch_add(events.len(), Ordering::AcqRel);
            self.tell(Input::Appended(events));
        } else {
            self.tell(Input::More);
        }
    }

    /// Tells that the queue has places up to `tail`, which are read from the store.
    pub(crate) fn notice(&self, tail: Ordinal) {
        self.shared.tail.fetch_max(tail.0, Ordering::SeqCst);
        self.tell(Input::More);
    }

    /// Tells the actor something. It may have ended already; then nothing is lost, for the store is the
    /// truth.
    pub(crate) fn tell(&self, input: Input) {
        drop(self.inputs.send((input, self.activity.begin())));
    }

    /// Takes a piece of work in hand on the actor's behalf.
    pub(crate) fn busy(&self) -> Busy {
        self.activity.begin()
    }

    /// Attempts that run now.
    pub fn inflight(&self) -> usize {
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The number of the attempt of `seq` that runs now, if one does.
    pub fn running(&self, seq: Seq) -> Option<u32> {
        self.shared
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&seq)
            .map(|attempt| attempt.number)
    }

    /// Notes that attempts run; each counts as running until its outcome is on disk.
    pub(crate) fn started<'a>(&self, since: Timestamp, attempts: impl Iterator<Item = Tried<'a>> + Clone) {
        let running = attempts.clone().map(|(seq, number, _)| (seq, RunningAttempt { seq, number, since }));
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner).extend(running);
        attempts.for_each(|(_, _, flow)| (self.flows.0)(flow));
    }

    /// Notes that attempts have ended and their outcomes are on disk, or that they count as nothing.
    pub(crate) fn ended<'a>(&self, attempts: impl Iterator<Item = Tried<'a>> + Clone) {
        let mut running = self.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        for (seq, number, _) in attempts.clone() {
            if running.get(&seq).is_some_and(|running| running.number == number) {
                running.remove(&seq);
            }
        }
        drop(running);
        self.shared.moved.notify_waiters();
        attempts.for_each(|(_, _, flow)| (self.flows.0)(flow));
    }

    /// Notes that a key waits behind a dead letter.
    pub(crate) fn park(&self, key: &str, behind: Ordinal) {
        let mut parked = self.shared.parked.lock().unwrap_or_else(PoisonError::into_inner);
        parked.entry(key.to_owned()).or_default().insert(behind);
    }

    /// Notes that a dead letter was dealt with.
    pub(crate) fn unpark(&self, key: &str, behind: Ordinal) {
        let mut parked = self.shared.parked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(letters) = parked.get_mut(key) {
            letters.remove(&behind);
            if letters.is_empty() {
                parked.remove(key);
            }
        }
    }

    /// Whether a delivery of this key waits for a person: behind a dead letter, or because the key was parked
    /// by hand.
    pub fn is_parked(&self, key: Option<&str>) -> bool {
        key.is_some_and(|key| self.holder_of(key).is_some())
    }

    /// Whether it has stopped because the store could not be read.
    pub fn is_broken(&self) -> bool {
        self.shared.broken.load(Ordering::Acquire)
    }

    /// Lets a delivery that waits for a retry or a snooze come at once.
    pub(crate) fn hasten(&self, ordinal: Ordinal, key: String) {
        self.tell(Input::Hasten { ordinal, key });
    }

    /// Lets it start nothing any more.
    pub fn drain(&self) {
        self.tell(Input::Drain);
    }

    /// Ends what still runs; interrupted attempts count as nothing.
    pub fn interrupt(&self) {
        self.tell(Input::Interrupt);
    }

    /// When something of it is due next, by a clock that is moved by hand: a retry, the rate's next start.
    pub fn next_due(&self) -> Option<Timestamp> {
        Some(Timestamp(self.shared.wake.load(Ordering::Acquire))).filter(|at| at.0 > 0)
    }

    /// Tells it that the clock was moved.
    pub fn nudge(&self) {
        self.tell(Input::Nudge);
    }

    /// Tells it of a repair that is on disk. Whoever looks from now on sees its key released.
    pub fn repaired(&self, ordinal: Ordinal, key: String, how: Mended) {
        self.unpark(&key, ordinal);
        self.tell(Input::Repaired(Repaired { ordinal, key, how }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_handed_on_is_found_at_the_tail_in_whatever_moment_it_comes() {
        const PLACES: u64 = 100_000;
        const LOST: std::time::Duration = std::time::Duration::from_secs(30);
        let (port, _inputs) = Port::new(SubscriptionId(1), "pay", false, Activity::default());
        let (seen, (tell, told)) = (Arc::new(AtomicU64::new(0)), std::sync::mpsc::channel());
        let publisher = std::thread::spawn({
            let (port, seen) = (port.clone(), Arc::clone(&seen));
            move || {
                for place in 1..=PLACES {
                    // One after the other: a later place would hide that one was lost.
                    while seen.load(Ordering::Acquire) < place - 1 {
                        std::thread::yield_now();
                    }
                    if port.note_place(Ordinal(place)) {
                        tell.send(place).unwrap();
                    }
                }
            }
        });

        let mut last = 0;
        while last < PLACES {
            port.turn_deaf(true);
            port.turn_deaf(false);
            last = last.max(port.tail().0);
            seen.store(last, Ordering::Release);
            while last < PLACES
                && told.recv_timeout(LOST).expect("a place is not at the tail, and nobody tells of it")
                    <= last
            {}
            last = last.max(port.tail().0);
            seen.store(last, Ordering::Release);
        }

        publisher.join().unwrap();
    }

    #[test]
    fn an_attempt_that_starts_or_ends_rings_for_its_flow() {
        let rung = Arc::new(Mutex::new(Vec::new()));
        let bell = FlowBell::new({
            let rung = Arc::clone(&rung);
            move |flow| rung.lock().unwrap().push(flow.to_owned())
        });
        let (port, _inputs) = Port::new(SubscriptionId(1), "pay", false, Activity::default());
        let port = port.ringing(bell);

        let tried = std::iter::once((Seq(1), 1, "f1"));
        port.started(Timestamp(1), tried.clone());
        assert_eq!((port.running(Seq(1)), rung.lock().unwrap().len()), (Some(1), 1));
        port.ended(tried);

        assert_eq!((port.running(Seq(1)), port.inflight()), (None, 0));
        assert_eq!(*rung.lock().unwrap(), ["f1", "f1"]);
    }
}
