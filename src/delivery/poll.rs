//! What the core decides: whose turn it is, what is read, what is put aside.
//!
//! Every step costs what it brings forth, never what is held: lanes that can start stand in a queue, what
//! waits for a time in a heap, what waits for room in the order it came.

use std::sync::Arc;

use super::breaker::Breaker;
use super::core::{Core, Flight};
use super::lanes::{Held, LaneId, Why};
use super::rate::Bucket;
use super::shares::Class;
use super::{Action, BreakerState, Start};
use crate::event::Timestamp;

impl<T> Core<T> {
    /// Decides what may happen at `now` and adds it to `out`. Call it after every batch of other calls, and at
    /// the time that [`Action::WakeAt`] named.
    pub fn poll(&mut self, now: Timestamp, out: &mut Vec<Action<T>>) {
        if self.is_open() {
            self.turn_breaker(now);
            self.awaken(now);
            out.append(&mut self.outbox);
            self.start(now, out);
            self.ask_again(out);
            self.ask_aside(out);
            self.make_way();
            self.ask_more(out);
            let at_breaker = self.breaker.as_ref().and_then(Breaker::next);
            let other = self.next_token().into_iter().chain(at_breaker).min();
            if let Some(at) = self.schedule.announce(now, other) {
                out.push(Action::WakeAt(at));
            }
        }
        out.append(&mut self.outbox);
    }

    /// Decides what a lane does next. Called whenever something of it has changed; it may be gone after that.
    pub(super) fn advance(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        if lane.claim.is_some() || lane.is_ready {
            self.want_aside(id);
            return;
        }
        if let Some(blocker) = lane.first_blocker() {
            if matches!(blocker.why, Why::Due | Why::Over(_)) {
                let ordinal = blocker.ordinal;
                lane.claim = Some(ordinal);
                self.due.push_back((id, ordinal));
            }
            self.put_aside(id);
        } else if let Some(held) = lane.queue.front() {
            lane.is_ready = true;
            match held.class {
                Class::Again => self.ready_again.push_back(id),
                Class::Fresh | Class::Aside => self.ready.push_back(id),
            }
            self.want_aside(id);
        } else {
            self.want_aside(id);
            self.lanes.tidy(id);
        }
    }

    /// Gives those whose time has come their turn.
    fn awaken(&mut self, now: Timestamp) {
        while let Some((due, ordinal, id)) = self.schedule.take(now) {
            let Some(lane) = self.lanes.get_mut(id) else { continue };
            let waits = |why| why == Why::Waiting(due);
            let found =
                lane.blockers.iter_mut().find(|blocker| blocker.ordinal == ordinal && waits(blocker.why));
            if let Some(blocker) = found {
                blocker.why = Why::Due;
                self.advance(id);
            }
        }
    }

    /// Starts what permits and rate allow.
    fn start(&mut self, now: Timestamp, out: &mut Vec<Action<T>>) {
        if let Some(bucket) = &mut self.bucket {
            bucket.refill(now);
        }
        while self.has_permit() && self.bucket.as_ref().is_none_or(Bucket::has_start) {
            let is_again_free = self.again_room() > 0;
            let Some(id) = self.next_ready() else { return };
            let Some(lane) = self.lanes.get_mut(id) else { continue };
            lane.is_ready = false;
            // Something may have come before it since: a repaired delivery.
            if lane.first_blocker().is_some() || lane.queue.is_empty() {
                self.advance(id);
                continue;
            }
            if lane.queue.front().is_some_and(|held| held.class == Class::Again) && !is_again_free {
                lane.is_ready = true;
                self.ready_again.push_back(id);
                continue;
            }
            let Some(held) = lane.queue.pop_front() else { continue };
            if let Some(reason) = self.solo.doom(&held, now) {
                self.shares.of(held.class).held -= 1;
                self.give_up(id, held, reason);
                // Before the next of its key, and before anything behind it is asked for.
                out.append(&mut self.outbox);
                self.advance(id);
                continue;
            }
            let key = Arc::clone(&lane.key);
            lane.claim = Some(held.ordinal);
            lane.is_again = held.comes_back();
            if let Some(bucket) = &mut self.bucket {
                bucket.take();
            }
            out.push(self.take_off(id, key, held));
            self.want_aside(id);
        }
    }

    /// Gives a delivery its permit.
    fn take_off(&mut self, lane: LaneId, key: Arc<str>, held: Held<T>) -> Action<T> {
        let (ordinal, class) = (held.ordinal, held.class);
        self.shares.of(class).held -= 1;
        self.again_flights += usize::from(class == Class::Again);
        if let Some(breaker) = &mut self.breaker {
            breaker.started(ordinal);
        }
        let flight = Flight { lane, seq: held.seq, failures: held.failures, attempts: held.attempts, class };
        self.flights.insert(ordinal, flight);
        Action::Start(Start { alone: self.solo.is_on(), ..held.into_start(key) })
    }

    /// The lane whose turn it is. Those that come back get no more than their share of the starts while a fresh
    /// one could start: under a rate that is what the others go short of, and permits are not.
    fn next_ready(&mut self) -> Option<LaneId> {
        let can_again = !self.ready_again.is_empty() && self.again_room() > 0;
        if can_again && (self.ready.is_empty() || self.turns.is_of_again(self.settings.retry_share)) {
            return self.ready_again.pop_front();
        }
        self.ready.pop_front()
    }

    /// Reads deliveries again whose turn has come, as far as there is room.
    fn ask_again(&mut self, out: &mut Vec<Action<T>>) {
        while self.shares.again.room() > 0 {
            let Some((id, ordinal)) = self.due.pop_front() else { return };
            self.shares.again.asked += 1;
            self.loading.insert(ordinal, id);
            out.push(Action::Load { ordinal });
        }
    }

    /// Whether a permit is free that nothing in memory can take.
    pub(super) fn is_hungry(&self) -> bool {
        if self.breaker() != BreakerState::Closed {
            return false;
        }
        let again = self.ready_again.len().min(self.again_room());
        self.flights.len() + self.ready.len() + again < self.permits()
    }

    /// Attempts that may run at once as things stand.
    fn permits(&self) -> usize {
        if self.solo.is_on() { 1 } else { self.settings.concurrency }
    }

    /// Whether an attempt may start, if the rate allows it.
    fn has_permit(&self) -> bool {
        self.flights.len() < self.permits() && self.breaker.as_ref().is_none_or(Breaker::may_start)
    }

    /// Permits that deliveries which come back may still take.
    fn again_room(&self) -> usize {
        self.again_most.saturating_sub(self.again_flights)
    }

    /// Puts the tails of long lanes aside when they fill the window and a permit is free: what could take it
    /// may stand behind them in the queue.
    fn make_way(&mut self) {
        let is_in_the_way = self.shares.fresh.room() == 0 && self.reading.has_more() && self.is_hungry();
        if !is_in_the_way {
            return;
        }
        for id in std::mem::take(&mut self.long) {
            while let Some(ordinal) = self.lanes.get_mut(id).and_then(|lane| lane.cut(self.settings.lane_max))
            {
                self.shares.fresh.held -= 1;
                self.defer(id, ordinal);
            }
        }
    }

    /// Reads the queue on when half of its share of the window is free; one question at a time.
    fn ask_more(&mut self, out: &mut Vec<Action<T>>) {
        let is_wanted = self.reading.asked.is_none() && self.reading.has_more();
        if is_wanted && self.shares.fresh.is_low() && self.can_read() {
            let limit = self.shares.fresh.room();
            self.shares.fresh.asked += limit;
            let after = self.reading.ask(limit);
            out.push(Action::Fetch { after, limit });
        }
    }

    /// When the next start is due, if only the rate is in its way.
    pub(super) fn next_token(&self) -> Option<Timestamp> {
        let has_ready = !self.ready.is_empty() || (!self.ready_again.is_empty() && self.again_room() > 0);
        self.bucket.as_ref().filter(|_| has_ready && self.has_permit()).map(Bucket::next)
    }
}
