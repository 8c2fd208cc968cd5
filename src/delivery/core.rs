//! The core's memory and what the actor tells it.
//!
//! Every call only notes what happened; what follows from it comes out of the next [`Core::poll`].

use std::collections::VecDeque;

use foldhash::{HashMap, HashSet};

use super::aside::Doubt;
use super::breaker::Breaker;
use super::lanes::{Blocker, Held, LaneId, Lanes, Why};
use super::limits::{make_sane, share_of};
use super::rate::Bucket;
use super::reading::Reading;
use super::schedule::Schedule;
use super::shares::{Class, Shares};
use super::solo::Solo;
use super::turns::Turns;
use super::{Action, Arrival, BreakerState, Finish, Order, Settings, Verdict};
use crate::event::Timestamp;
use crate::retry::{Next, draw};
use crate::store::{DeadReason, Ordinal, Pending, PendingState, Seq};

/// One subscription at work, without clock, I/O, threads or chance.
///
/// # Guarantees
/// With [`Order::Key`] at most one delivery of a key runs, in the order of the queue; what waits for a time
/// or a person holds its key only and no permit. Deliveries that come back take no more than their share of
/// the permits. While the breaker is open nothing starts. At most [`Settings::window`] deliveries are in memory with
/// their events. A lane exists only while something of its key is not through. The same calls give the
/// same actions.
#[derive(Debug)]
pub struct Core<T> {
    pub(super) settings: Settings,
    pub(super) seed: u64,
    pub(super) lanes: Lanes<T>,
    pub(super) flights: HashMap<Ordinal, Flight>,
    /// Asked for with [`Action::Load`].
    pub(super) loading: HashMap<Ordinal, LaneId>,
    /// Repaired deliveries that are in hand, until what came of them is recorded.
    pub(super) mended: HashSet<Ordinal>,
    /// Deliveries over which the store's list of put-aside ones and the core may differ.
    pub(super) doubts: HashMap<Ordinal, (LaneId, Doubt)>,
    pub(super) reading: Reading,
    pub(super) shares: Shares,
    pub(super) schedule: Schedule,
    pub(super) bucket: Option<Bucket>,
    pub(super) breaker: Option<Breaker>,
    /// Attempts that run of deliveries that came back, and the most of them.
    pub(super) again_flights: usize,
    pub(super) again_most: usize,
    pub(super) solo: Solo,
    /// Lanes that can start: with a fresh delivery, and with one that comes back.
    pub(super) ready: VecDeque<LaneId>,
    pub(super) ready_again: VecDeque<LaneId>,
    /// Whose turn it is when both can start.
    pub(super) turns: Turns,
    /// Deliveries to be read again.
    pub(super) due: VecDeque<(LaneId, Ordinal)>,
    /// Lanes that have grown over `lane_max`: the first to give way when the window is full.
    pub(super) long: Vec<LaneId>,
    /// Lanes that want to ask for what lies aside.
    pub(super) wants: VecDeque<LaneId>,
    pub(super) outbox: Vec<Action<T>>,
    /// Deliveries that wait for a time or for their turn after it.
    pub(super) recalls: usize,
    pub(super) parked: usize,
    /// Keys parked by hand.
    pub(super) hands: usize,
    is_paused: bool,
    is_draining: bool,
    /// The highest concurrency so far: so many of the window's places are kept for what runs.
    pub(super) places: usize,
}

/// A delivery that runs.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) lane: LaneId,
    pub(super) seq: Seq,
    pub(super) failures: u32,
    pub(super) attempts: u32,
    pub(super) class: Class,
}

impl<T> Arrival<T> {
    pub(super) fn into_held(self, class: Class) -> Held<T> {
        let Self { ordinal, seq, key: _, ready, failures, attempts, retried: _, expires, item } = self;
        Held { ordinal, seq, ready, failures, attempts, class, expires, item }
    }
}

impl<T> Core<T> {
    /// A core that has read nothing yet. `seed` spreads retries; any number will do.
    pub fn new(mut settings: Settings, seed: u64) -> Self {
        make_sane(&mut settings);
        Self {
            seed,
            lanes: Lanes::new(),
            flights: HashMap::default(),
            loading: HashMap::default(),
            mended: HashSet::default(),
            doubts: HashMap::default(),
            reading: Reading::default(),
            shares: Shares::new(&settings),
            schedule: Schedule::default(),
            bucket: settings.rate.map(Bucket::new),
            breaker: settings.breaker.map(Breaker::new),
            again_flights: 0,
            again_most: share_of(&settings),
            solo: Solo::default(),
            ready: VecDeque::new(),
            ready_again: VecDeque::new(),
            turns: Turns::default(),
            due: VecDeque::new(),
            long: Vec::new(),
            wants: VecDeque::new(),
            outbox: Vec::new(),
            recalls: 0,
            parked: 0,
            hands: 0,
            is_paused: false,
            is_draining: false,
            places: settings.concurrency,
            settings,
        }
    }

    /// What the store has recorded apart from the queue: call it with every page of
    /// [`Reader::pending`](crate::store::Reader::pending) before anything else.
    pub fn restore(&mut self, pending: Vec<Pending>) {
        for Pending { ordinal, seq: _, key, failures, state } in pending {
            match state {
                PendingState::Deferred => self.restore_aside(&key, ordinal),
                PendingState::Waiting { due } => {
                    self.reading.note_recorded(ordinal);
                    let id = self.lane_for(&key);
                    // Tried more often than it may be by now: it is read again at once, and given up.
                    let is_over = failures >= self.settings.retry.max_attempts;
                    let why = if is_over { Why::Over(due) } else { Why::Waiting(due) };
                    self.wait(id, Blocker { ordinal, failures, attempts: 0, why });
                    if is_over {
                        self.advance(id);
                    }
                }
                PendingState::Dead { parks } => {
                    self.reading.note_recorded(ordinal);
                    if parks && self.settings.order == Order::Key {
                        let id = self.lanes.of(&key);
                        self.park(id, Blocker::known(ordinal, Why::Dead));
                    }
                }
            }
        }
    }

    /// A delivery straight from a commit. It is taken when everything before it was read and there is room;
    /// otherwise the core remembers that the store has more.
    pub fn appended(&mut self, arrival: Arrival<T>) {
        let takes = self.takes(arrival.ordinal);
        self.reading.notice(arrival.ordinal);
        if takes {
            self.arrive(arrival);
        }
    }

    /// Whether [`Core::appended`] would take a delivery with this ordinal. To make one costs more than to ask: its
    /// key stands in its payload.
    pub fn takes(&self, ordinal: Ordinal) -> bool {
        self.can_read() && self.reading.is_next(ordinal)
    }

    /// The store has deliveries up to `ordinal`: as [`Core::appended`] without the event.
    pub fn noticed(&mut self, ordinal: Ordinal) {
        self.reading.notice(ordinal);
    }

    /// Whether to be told of a delivery behind all that are known would change nothing now: none is taken while it is paused, and one
    /// that comes behind more than it holds at once is read with those. When that is over, it has to be told of the last one that
    /// there is. Nearer to the end it may come right behind what is being read.
    pub fn is_deaf(&self) -> bool {
        !self.is_open() || self.reading.unread() > self.settings.window as u64
    }

    /// The answer to [`Action::Fetch`]. An answer without any delivery says that there was no more.
    pub fn fetched(&mut self, after: Ordinal, arrivals: Vec<Arrival<T>>) {
        let Some(question) = self.reading.asked.filter(|question| question.after == after) else { return };
        self.reading.asked = None;
        self.shares.fresh.asked -= question.limit;
        if arrivals.is_empty() {
            self.reading.end(question);
        }
        for arrival in arrivals.into_iter().take(question.limit) {
            self.arrive(arrival);
        }
        self.open_lanes();
    }

    /// The answer to [`Action::Load`]; `None` when the store has nothing to attempt there any more.
    pub fn loaded(&mut self, ordinal: Ordinal, arrival: Option<Arrival<T>>) {
        let Some(id) = self.loading.remove(&ordinal) else { return };
        self.shares.again.asked -= 1;
        match &arrival {
            Some(arrival) => self.note_mended(arrival),
            None => self.forget_mended(ordinal),
        }
        let Some(lane) = self.lanes.get_mut(id) else { return };
        lane.claim = None;
        let Some(blocker) = lane.unblock(ordinal) else { return };
        self.recalls -= 1;
        if let Some(arrival) = arrival {
            let mut held = arrival.into_held(Class::Again);
            // The outcome of the last attempt may not be staged yet: what is known here counts too.
            held.failures = held.failures.max(blocker.failures);
            held.attempts = held.attempts.max(blocker.attempts);
            if held.failures >= self.settings.retry.max_attempts {
                self.give_up(id, held, DeadReason::Attempts);
            } else if let Why::Over(due) = blocker.why {
                let (failures, attempts) = (held.failures, held.attempts);
                self.wait(id, Blocker { ordinal, failures, attempts, why: Why::Waiting(due) });
            } else {
                lane.hold(held);
                self.shares.again.held += 1;
            }
        } else {
            self.forget_taken(id, ordinal);
        }
        self.advance(id);
    }

    /// An attempt is over: its permit is free, and the next of its key may start with the next poll. Settle
    /// it as the verdict says.
    pub fn finished(&mut self, ordinal: Ordinal, how: Finish, now: Timestamp) -> Verdict {
        let Some(flight) = self.flights.remove(&ordinal) else { return Verdict::Nothing };
        let id = flight.lane;
        if let Some(lane) = self.lanes.get_mut(id) {
            lane.claim = None;
            lane.is_again = false;
        }
        self.again_flights -= usize::from(flight.class == Class::Again);
        self.solo.ended(ordinal, how);
        let is_probe = self.heed(ordinal, how, now);
        let verdict = self.judge_attempt(&flight, how, now, is_probe);
        let Flight { failures, attempts, .. } = flight;
        let failures = failures.saturating_add(verdict.is_counted().into());
        let attempts = attempts.saturating_add(1);
        match verdict {
            Verdict::Retry { due } | Verdict::Spared { due } | Verdict::Snooze { due } => {
                let why = Why::Waiting(due);
                self.wait(id, Blocker { ordinal, failures, attempts, why });
            }
            Verdict::Dead { parks: true, .. } => self.park(id, Blocker::known(ordinal, Why::Dead)),
            Verdict::Nothing => {
                let Flight { failures, attempts, .. } = flight;
                self.wait(id, Blocker { ordinal, failures, attempts, why: Why::Due });
            }
            Verdict::Done | Verdict::Skipped | Verdict::Dead { parks: false, .. } => {}
        }
        self.advance(id);
        verdict
    }

    /// What an end of an attempt means under the policy.
    fn judge_attempt(&self, flight: &Flight, how: Finish, now: Timestamp, is_probe: bool) -> Verdict {
        let parks = self.parks();
        match how {
            Finish::Done => Verdict::Done,
            Finish::Skipped | Finish::Held => Verdict::Skipped,
            Finish::Interrupted => Verdict::Nothing,
            Finish::Snoozed(wait) => Verdict::Snooze { due: now.plus(wait) },
            Finish::Dead(reason) => Verdict::Dead { reason, parks },
            Finish::Failed { retry_after } if is_probe => {
                Verdict::Spared { due: self.spared(flight, retry_after, now) }
            }
            Finish::Failed { retry_after } => {
                let failures = flight.failures.saturating_add(1);
                match self.settings.retry.next(failures, retry_after, draw(self.seed, flight.seq.0, failures))
                {
                    Next::After(wait) => Verdict::Retry { due: now.plus(wait) },
                    Next::GiveUp => Verdict::Dead { reason: DeadReason::Attempts, parks },
                }
            }
        }
    }

    /// Holds everything back, or lets it go on. What runs, runs to its end.
    pub fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// Starts nothing any more, for good: the process is about to end.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// The timer that [`Action::WakeAt`] asked for has run out: call it before [`Core::poll`], so that a new
    /// one is asked for even if the clock stands behind.
    pub fn woken(&mut self) {
        self.schedule.woken();
    }

    /// The most deliveries in memory with their events, as the limits are now.
    pub fn window(&self) -> usize {
        self.settings.window
    }

    /// Attempts that run.
    pub fn inflight(&self) -> usize {
        self.flights.len()
    }

    /// Deliveries in memory with their events, those that run included.
    pub fn held(&self) -> usize {
        self.shares.held() + self.flights.len()
    }

    /// Deliveries that wait for a retry, a snooze, or their turn after it.
    pub fn waiting(&self) -> usize {
        self.recalls
    }

    /// Dead letters that hold their key.
    pub fn parked(&self) -> usize {
        self.parked
    }

    /// Lanes that exist.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// The delivery that keeps the others of `key` waiting: a dead letter, or one that waits itself.
    pub fn blocked_by(&self, key: &str) -> Option<Ordinal> {
        let lane = self.lanes.find(key).and_then(|id| self.lanes.get(id))?;
        lane.blockers.iter().find(|blocker| blocker.why != Why::Hand).map(|blocker| blocker.ordinal)
    }

    /// Where the breaker stands; closed when there is none.
    pub fn breaker(&self) -> BreakerState {
        self.breaker.as_ref().map_or(BreakerState::Closed, Breaker::state)
    }

    /// Whether a person has paused it.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Whether nothing runs and nothing can start before the time moves on or something new comes in.
    pub fn is_idle(&self) -> bool {
        let is_stopped = self.flights.is_empty() && self.outbox.is_empty();
        let is_unasked = self.loading.is_empty() && self.doubts.is_empty() && self.reading.asked.is_none();
        let is_empty = self.shares.held() == 0
            && self.due.is_empty()
            && self.wants.is_empty()
            && self.shares.aside.asked == 0
            && !self.reading.has_more();
        is_stopped && (!self.is_open() || (is_unasked && is_empty))
    }

    /// When the next delivery that waits for a time is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.schedule.next()
    }

    pub(super) fn is_open(&self) -> bool {
        !self.is_paused && !self.is_draining
    }

    /// Whether more may come in: there is room, and the store keeps up with what is put aside.
    pub(super) fn can_read(&self) -> bool {
        self.is_open() && self.shares.fresh.room() > 0 && self.doubts.len() < self.settings.window
    }

    /// Takes a delivery of the queue: holds it, or hands it to the store when its key is busy.
    fn arrive(&mut self, arrival: Arrival<T>) {
        let ordinal = arrival.ordinal;
        if !self.reading.pass(ordinal) {
            return;
        }
        self.note_mended(&arrival);
        let id = self.lane_for(&arrival.key);
        let (is_hungry, lane_max) = (self.is_hungry(), self.settings.lane_max);
        let Some(lane) = self.lanes.get_mut(id) else { return };
        // While every permit is taken a long lane is in nobody's way.
        if lane.must_defer(ordinal, if is_hungry { lane_max } else { usize::MAX }) {
            self.defer(id, ordinal);
        } else {
            lane.hold(arrival.into_held(Class::Fresh));
            if lane.queue.len() == lane_max + 1 {
                self.long.push(id);
            }
            self.shares.fresh.held += 1;
        }
        self.advance(id);
    }

    pub(super) fn lane_for(&mut self, key: &str) -> LaneId {
        match self.settings.order {
            Order::Key => self.lanes.of(key),
            Order::None => self.lanes.single(key),
        }
    }

    /// Lets a delivery wait in its lane.
    pub(super) fn wait(&mut self, id: LaneId, blocker: Blocker) {
        if let Why::Waiting(due) = blocker.why {
            self.schedule.add(due, blocker.ordinal, id);
        }
        if let Some(lane) = self.lanes.get_mut(id) {
            lane.block(blocker);
            self.recalls += 1;
        }
    }

    pub(super) fn park(&mut self, id: LaneId, blocker: Blocker) {
        if let Some(lane) = self.lanes.get_mut(id) {
            lane.block(blocker);
            self.parked += 1;
        }
    }
}

impl Blocker {
    /// One of which only the store knows the counts.
    pub(super) fn known(ordinal: Ordinal, why: Why) -> Self {
        Self { ordinal, failures: 0, attempts: 0, why }
    }
}
