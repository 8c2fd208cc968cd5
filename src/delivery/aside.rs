//! Deliveries of a lane that lie aside in the store, so that the window stays free for other keys.
//!
//! Once one of a lane lies aside, all later ones go there too, until the core has brought them back in order.
//! Two things are in doubt for a while and are kept track of by ordinal: a delivery that is being put aside
//! (the store may not list it yet) and one that was brought back (the store lists it until its outcome is
//! staged). Confirmations that come while the store is being asked are kept until the answer, since the
//! answer may be older than they are.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::core::Core;
use super::lanes::{Blocker, Held, Lane, LaneId, Why};
use super::shares::Class;
use super::{Action, Arrival};
use crate::store::Ordinal;

/// So many are asked for at first when it is not known how many there are.
const UNCOUNTED: usize = 16;

/// What lies aside of one lane.
#[derive(Debug)]
pub(super) struct Aside {
    /// How many; `None` when they were put there before the start and have not been counted.
    left: Option<usize>,
    /// None of them is before this place.
    from: Ordinal,
    /// Being put aside: not certain to be listed.
    unlisted: BTreeSet<Ordinal>,
    /// Brought back, and possibly still listed.
    taken: usize,
    /// How far the question for them is.
    asking: Asking,
    /// Confirmed while the store was being asked.
    late: Vec<Ordinal>,
    /// Since the store was asked, something came before them: the answer knows nothing of it.
    is_outdated: bool,
}

/// How far the question for a lane's put-aside deliveries is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    /// Nothing is on its way.
    Quiet,
    /// The lane stands in the queue of those that want to ask.
    Wanting,
    /// The answer is awaited; so many places are reserved for it.
    Asked(usize),
    /// The last answer had nothing to take: ask again when something was confirmed.
    Stalled,
    /// Until the cursor is there.
    Closed,
}

/// Why the store's list of a lane and the core differ over a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It is being put aside.
    Deferring,
    /// It was brought back.
    Taken,
}

impl Aside {
    fn new(from: Ordinal, left: Option<usize>) -> Self {
        Self {
            left,
            from,
            unlisted: BTreeSet::new(),
            taken: 0,
            asking: Asking::Quiet,
            late: Vec::new(),
            is_outdated: false,
        }
    }

    /// Whether something before `ordinal` lies aside, so that `ordinal` must not be held.
    pub(super) fn holds_before(&self, ordinal: Ordinal) -> bool {
        self.left != Some(0) && self.from < ordinal
    }

    /// Notes that something has come before them that they have to wait for.
    pub(super) fn outdate(&mut self) {
        self.is_outdated = true;
    }

    pub(super) fn is_over(&self) -> bool {
        let is_asking = matches!(self.asking, Asking::Wanting | Asking::Asked(_));
        self.left == Some(0) && self.unlisted.is_empty() && self.taken == 0 && !is_asking
    }

    /// Whether the store lists some that are not in hand, as far as is known.
    fn has_more(&self) -> bool {
        self.left.is_none_or(|left| left > self.unlisted.len())
    }

    /// Ends a wait, if it is this one.
    fn leave(&mut self, asking: Asking) {
        if self.asking == asking {
            self.asking = Asking::Quiet;
        }
    }

    fn add(&mut self, ordinal: Ordinal) {
        self.from = if self.left == Some(0) { ordinal } else { self.from.min(ordinal) };
        self.left = self.left.map(|left| left + 1);
    }
}

impl<T> Core<T> {
    /// Notes, at start, that deliveries of `key` from `from` on lie aside.
    pub(super) fn restore_aside(&mut self, key: &str, from: Ordinal) {
        self.reading.notice(from);
        let id = self.lanes.of(key);
        if let Some(lane) = self.lanes.get_mut(id) {
            let aside = lane.aside.get_or_insert_with(|| Box::new(Aside::new(from, None)));
            aside.left = None;
            aside.from = aside.from.min(from);
        }
        self.advance(id);
    }

    /// Hands one delivery of a lane to the store.
    pub(super) fn defer(&mut self, id: LaneId, ordinal: Ordinal) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let aside = lane.aside.get_or_insert_with(|| Box::new(Aside::new(ordinal, Some(0))));
        aside.add(ordinal);
        aside.unlisted.insert(ordinal);
        self.doubts.insert(ordinal, (id, Doubt::Deferring));
        self.outbox.push(Action::Defer { ordinal, key: Arc::clone(&lane.key) });
    }

    /// Empties a lane that cannot go on: nothing of it takes a place in the window.
    pub(super) fn put_aside(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        for Held { ordinal, class, failures, attempts, .. } in std::mem::take(&mut lane.queue) {
            self.shares.of(class).held -= 1;
            match class {
                Class::Fresh => self.defer(id, ordinal),
                Class::Aside => self.give_back(id, ordinal),
                Class::Again => {
                    let Some(lane) = self.lanes.get_mut(id) else { continue };
                    lane.block(Blocker { ordinal, failures, attempts, why: Why::Due });
                    self.recalls += 1;
                }
            }
        }
    }

    /// Leaves a delivery that was brought back where the store has it.
    fn give_back(&mut self, id: LaneId, ordinal: Ordinal) {
        self.doubts.remove(&ordinal);
        if let Some(aside) = self.aside_mut(id) {
            aside.taken -= 1;
            aside.add(ordinal);
            // It was certain to be listed, so asking again brings at least this one.
            aside.leave(Asking::Stalled);
        }
    }

    /// Queues the lane to ask the store for what lies aside, if that may bring something.
    pub(super) fn want_aside(&mut self, id: LaneId) {
        let few = self.settings.lane_max / 4;
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let is_free = lane.queue.len() <= few && lane.is_free();
        let Some(aside) = lane.aside.as_mut() else { return };
        if !is_free || !aside.has_more() || !matches!(aside.asking, Asking::Quiet | Asking::Closed) {
            return;
        }
        if self.reading.has_reached(aside.from) {
            aside.asking = Asking::Wanting;
            self.wants.push_back(id);
        } else if aside.asking == Asking::Quiet {
            aside.asking = Asking::Closed;
            self.reading.close(aside.from, id);
        }
    }

    /// Lets lanes ask whose put-aside deliveries the cursor has come to.
    pub(super) fn open_lanes(&mut self) {
        while let Some(id) = self.reading.open() {
            if let Some(aside) = self.aside_mut(id) {
                aside.leave(Asking::Closed);
            }
            self.advance(id);
        }
    }

    /// Asks the store for what lies aside, as far as there is room.
    pub(super) fn ask_aside(&mut self, out: &mut Vec<Action<T>>) {
        while self.shares.aside.room() > 0 {
            let Some(id) = self.wants.pop_front() else { return };
            let most = self.shares.aside.room().min(self.settings.lane_max);
            let Some(lane) = self.lanes.get_mut(id) else { continue };
            let is_free = lane.is_free();
            let Some(aside) = lane.aside.as_mut() else { continue };
            aside.leave(Asking::Wanting);
            if is_free && aside.has_more() {
                let want = most.min(aside.left.unwrap_or(UNCOUNTED)).max(1);
                aside.asking = Asking::Asked(want);
                aside.is_outdated = false;
                self.shares.aside.asked += want;
                out.push(Action::FetchDeferred { key: Arc::clone(&lane.key), limit: want + aside.taken });
            } else {
                self.lanes.tidy(id);
            }
        }
    }

    /// The answer to [`Action::FetchDeferred`]: the first ones of `key` that the store lists, in order.
    pub fn fetched_deferred(&mut self, key: &str, arrivals: Vec<Arrival<T>>) {
        let Some(id) = self.lanes.find(key) else { return };
        let Some(aside) = self.aside_mut(id) else { return };
        let Asking::Asked(asked) = aside.asking else { return };
        aside.asking = Asking::Quiet;
        let is_outdated = aside.is_outdated;
        self.shares.aside.asked -= asked;
        let is_empty = arrivals.is_empty();
        if !is_outdated && self.lanes.get(id).is_some_and(Lane::is_free) {
            let brought = self.bring_back(id, asked, arrivals);
            self.judge(id, brought, is_empty);
        }
        let late = self.aside_mut(id).map(|aside| std::mem::take(&mut aside.late)).unwrap_or_default();
        for ordinal in late {
            self.settled(ordinal);
        }
        self.advance(id);
    }

    /// What an answer that brought `brought` deliveries says about the rest.
    fn judge(&mut self, id: LaneId, brought: usize, is_empty: bool) {
        let Some(aside) = self.lanes.get_mut(id).and_then(|lane| lane.aside.as_deref_mut()) else { return };
        // What was put aside since the question is unlisted still: confirmations wait until after this.
        if is_empty && aside.unlisted.is_empty() {
            aside.left = Some(0);
        } else if brought == 0 && self.reading.has_reached(aside.from) {
            // What lies ahead of the cursor needs no confirmation: the lane is opened when the cursor is there.
            aside.asking = Asking::Stalled;
        }
    }

    /// Takes from the store's list what is certain to be next, at most `room`; returns how many.
    fn bring_back(&mut self, id: LaneId, room: usize, arrivals: Vec<Arrival<T>>) -> usize {
        let mut brought = 0;
        for arrival in arrivals {
            let ordinal = arrival.ordinal;
            let Some(lane) = self.lanes.get_mut(id) else { break };
            let Some(aside) = lane.aside.as_mut() else { break };
            if aside.unlisted.first().is_some_and(|&first| first < ordinal) || brought == room {
                break;
            }
            if self.doubts.contains_key(&ordinal) {
                continue;
            }
            if !self.reading.has_reached(ordinal) {
                aside.from = ordinal;
                break;
            }
            aside.left = aside.left.map(|left| left.saturating_sub(1));
            aside.from = Ordinal(ordinal.0.saturating_add(1));
            aside.taken += 1;
            // It may lie over the cursor: a start knows the first of each key only.
            self.reading.note_recorded(ordinal);
            lane.hold(arrival.into_held(Class::Aside));
            self.doubts.insert(ordinal, (id, Doubt::Taken));
            self.shares.aside.held += 1;
            brought += 1;
        }
        brought
    }

    /// The outcome of the last attempt of `ordinal`, or its [`Action::Defer`], is staged: readers see it.
    ///
    /// Call it when the receipt is in, once for each change; for most deliveries it does nothing.
    pub fn settled(&mut self, ordinal: Ordinal) {
        self.forget_mended(ordinal);
        let Some(&(id, doubt)) = self.doubts.get(&ordinal) else { return };
        let Some(aside) = self.aside_mut(id) else { return };
        if matches!(aside.asking, Asking::Asked(_)) {
            aside.late.push(ordinal);
            return;
        }
        aside.leave(Asking::Stalled);
        match doubt {
            Doubt::Deferring => {
                aside.unlisted.remove(&ordinal);
            }
            Doubt::Taken => aside.taken -= 1,
        }
        self.doubts.remove(&ordinal);
        self.advance(id);
    }

    /// Forgets a delivery that was brought back and is gone from the store.
    pub(super) fn forget_taken(&mut self, id: LaneId, ordinal: Ordinal) {
        if self.doubts.remove(&ordinal).is_some()
            && let Some(aside) = self.aside_mut(id)
        {
            aside.taken -= 1;
        }
    }

    fn aside_mut(&mut self, id: LaneId) -> Option<&mut Aside> {
        self.lanes.get_mut(id)?.aside.as_deref_mut()
    }
}
