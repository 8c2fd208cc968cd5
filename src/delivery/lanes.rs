//! Lanes: the deliveries of one key, one at a time.
//!
//! A lane exists while anything of its key is held, runs, waits, is parked, or lies aside in the store, and
//! goes when the last of it is through: a million keys that pass leave nothing behind. With
//! [`Order::None`](super::Order::None) each delivery has a lane to itself that no key leads to.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::HashMap;

use super::aside::Aside;
use super::shares::Class;
use crate::event::Timestamp;
use crate::store::{Ordinal, Seq};

/// A lane's place in the table; used again after the lane is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneId(usize);

/// A delivery in memory, not started.
#[derive(Debug)]
pub(super) struct Held<T> {
    pub(super) ordinal: Ordinal,
    pub(super) seq: Seq,
    pub(super) ready: Timestamp,
    pub(super) failures: u32,
    pub(super) attempts: u32,
    pub(super) class: Class,
    pub(super) expires: Option<Timestamp>,
    pub(super) item: T,
}

impl<T> Held<T> {
    /// Whether it was attempted before: those behind it wait for it. One that was repaired before the start comes
    /// along the queue.
    pub(super) fn comes_back(&self) -> bool {
        self.class == Class::Again || self.attempts > 0
    }
}

/// A delivery that is through with an attempt, or known from the store, and keeps what is behind it waiting.
#[derive(Debug)]
pub(super) struct Blocker {
    pub(super) ordinal: Ordinal,
    pub(super) failures: u32,
    pub(super) attempts: u32,
    pub(super) why: Why,
}

/// What a blocker waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// A person, behind a dead letter.
    Dead,
    /// A person who has parked the key by hand.
    Hand,
    /// A time.
    Waiting(Timestamp),
    /// Its turn: it is read from the store again.
    Due,
    /// As [`Why::Due`], to be given up before its time; should it be let off meanwhile, it waits on.
    Over(Timestamp),
}

/// One key's deliveries.
#[derive(Debug)]
pub(super) struct Lane<T> {
    pub(super) key: Arc<str>,
    /// Whether the key leads here.
    named: bool,
    /// In memory, in order.
    pub(super) queue: VecDeque<Held<T>>,
    /// The one that runs or is being read from the store.
    pub(super) claim: Option<Ordinal>,
    /// Whether it stands in a queue of lanes that can start.
    pub(super) is_ready: bool,
    /// In order; nearly always none or one.
    pub(super) blockers: Vec<Blocker>,
    /// Whether the one that runs has come back: nothing that lies aside is asked for behind it.
    pub(super) is_again: bool,
    pub(super) aside: Option<Box<Aside>>,
}

impl<T> Lane<T> {
    fn new(key: Arc<str>, named: bool, queue: VecDeque<Held<T>>) -> Self {
        Self {
            key,
            named,
            queue,
            claim: None,
            is_ready: false,
            blockers: Vec::new(),
            is_again: false,
            aside: None,
        }
    }

    /// Adds a delivery in its place; at the end, but for one that comes back.
    pub(super) fn hold(&mut self, held: Held<T>) {
        if held.comes_back() {
            self.outdate_aside();
        }
        let at = match self.queue.back() {
            Some(last) if last.ordinal > held.ordinal => {
                self.queue.partition_point(|other| other.ordinal < held.ordinal)
            }
            Some(_) | None => self.queue.len(),
        };
        self.queue.insert(at, held);
    }

    fn outdate_aside(&mut self) {
        if let Some(aside) = &mut self.aside {
            aside.outdate();
        }
    }

    pub(super) fn block(&mut self, blocker: Blocker) {
        self.outdate_aside();
        let at = self.blockers.partition_point(|other| other.ordinal < blocker.ordinal);
        self.blockers.insert(at, blocker);
    }

    /// Removes the blocker at `ordinal`.
    pub(super) fn unblock(&mut self, ordinal: Ordinal) -> Option<Blocker> {
        let at = self.blockers.iter().position(|blocker| blocker.ordinal == ordinal)?;
        Some(self.blockers.remove(at))
    }

    /// The blocker that comes before all that is held.
    pub(super) fn first_blocker(&self) -> Option<&Blocker> {
        let first = self.blockers.first()?;
        match self.queue.front() {
            Some(held) if held.ordinal < first.ordinal => None,
            Some(_) | None => Some(first),
        }
    }

    /// Whether nothing that was attempted before stands before what lies aside, so that it can be asked for.
    pub(super) fn is_free(&self) -> bool {
        self.blockers.is_empty() && !self.is_again && !self.queue.iter().any(Held::comes_back)
    }

    /// Takes off the last one that came along the queue when more than `most` wait.
    pub(super) fn cut(&mut self, most: usize) -> Option<Ordinal> {
        let is_long = self.queue.len() > most && self.queue.back()?.class == Class::Fresh;
        if is_long { self.queue.pop_back().map(|held| held.ordinal) } else { None }
    }

    /// Whether a delivery of this lane that arrives has to wait in the store.
    pub(super) fn must_defer(&self, ordinal: Ordinal, lane_max: usize) -> bool {
        self.queue.len() >= lane_max
            || self.blockers.first().is_some_and(|blocker| blocker.ordinal < ordinal)
            || self.aside.as_ref().is_some_and(|aside| aside.holds_before(ordinal))
    }

    /// Whether nothing is left of it.
    fn is_over(&self) -> bool {
        self.claim.is_none()
            && !self.is_ready
            && self.queue.is_empty()
            && self.blockers.is_empty()
            && self.aside.as_ref().is_none_or(|aside| aside.is_over())
    }
}

/// All lanes.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    by_key: HashMap<Arc<str>, LaneId>,
    slots: Vec<Option<Lane<T>>>,
    free: Vec<LaneId>,
    /// Queues of lanes that are over, for their room: most lanes live for one delivery.
    spare: Vec<VecDeque<Held<T>>>,
}

/// Queues that are kept, and the room of the largest that is.
const SPARE: (usize, usize) = (256, 8);

impl<T> Lanes<T> {
    pub(super) fn new() -> Self {
        Self { by_key: HashMap::default(), slots: Vec::new(), free: Vec::new(), spare: Vec::new() }
    }

    /// Lanes that exist.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn find(&self, key: &str) -> Option<LaneId> {
        self.by_key.get(key).copied()
    }

    /// The lanes that exist.
    pub(super) fn ids(&self) -> Vec<LaneId> {
        let taken = self.slots.iter().enumerate().filter(|(_, slot)| slot.is_some());
        taken.map(|(at, _)| LaneId(at)).collect()
    }

    pub(super) fn get(&self, id: LaneId) -> Option<&Lane<T>> {
        self.slots.get(id.0)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: LaneId) -> Option<&mut Lane<T>> {
        self.slots.get_mut(id.0)?.as_mut()
    }

    /// The lane of `key`, made if there is none.
    pub(super) fn of(&mut self, key: &str) -> LaneId {
        if let Some(&id) = self.by_key.get(key) {
            return id;
        }
        let key: Arc<str> = key.into();
        let queue = self.spare.pop().unwrap_or_default();
        let id = self.place(Lane::new(Arc::clone(&key), true, queue));
        self.by_key.insert(key, id);
        id
    }

    /// A lane for one delivery, which its key does not lead to.
    pub(super) fn single(&mut self, key: &str) -> LaneId {
        let queue = self.spare.pop().unwrap_or_default();
        self.place(Lane::new(key.into(), false, queue))
    }

    fn place(&mut self, lane: Lane<T>) -> LaneId {
        if let Some(id) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(id.0)
        {
            *slot = Some(lane);
            return id;
        }
        self.slots.push(Some(lane));
        LaneId(self.slots.len() - 1)
    }

    /// Removes the lane if nothing is left of it.
    pub(super) fn tidy(&mut self, id: LaneId) {
        let Some(slot) = self.slots.get_mut(id.0) else { return };
        if let Some(lane) = slot.take_if(|lane| lane.is_over()) {
            if lane.named {
                self.by_key.remove(&lane.key);
            }
            if self.spare.len() < SPARE.0 && lane.queue.capacity() <= SPARE.1 {
                self.spare.push(lane.queue);
            }
            self.free.push(id);
        }
    }
}
