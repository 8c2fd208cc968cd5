//! What the core decides: whose turn it is, what is read, what is put aside.
//!
//! Every step costs what it brings forth, never what is held: lanes that can start stand in a queue, what
//! waits for a time in a heap, what waits for room in the order it came.

use std::sync::Arc;

use super::core::{Core, Flight};
use super::lanes::{Held, LaneId, Why};
use super::rate::Bucket;
use super::shares::Class;
use super::{Action, Start};
use crate::event::Timestamp;

impl<T> Core<T> {
    /// Decides what may happen at `now` and adds it to `out`. Call it after every batch of other calls, and at
    /// the time that [`Action::WakeAt`] named.
    pub fn poll(&mut self, now: Timestamp, out: &mut Vec<Action<T>>) {
        if self.is_open() {
            self.awaken(now);
            self.start(now, out);
            self.ask_again(out);
            self.ask_aside(out);
            self.make_way();
            self.ask_more(out);
            let at_rate = self.next_token();
            if let Some(at) = self.schedule.announce(now, at_rate) {
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
            if blocker.why == Why::Due {
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
        while self.flights.len() < self.settings.concurrency
            && self.bucket.as_ref().is_none_or(Bucket::has_start)
        {
            let Some(id) = self.next_ready() else { return };
            let Some(lane) = self.lanes.get_mut(id) else { continue };
            lane.is_ready = false;
            // Something may have come before it since: a repaired delivery.
            if lane.first_blocker().is_some() || lane.queue.is_empty() {
                self.advance(id);
                continue;
            }
            let Some(held) = lane.queue.pop_front() else { continue };
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
        let Held { ordinal, seq, ready, failures, attempts, class, item } = held;
        self.shares.of(class).held -= 1;
        self.flights.insert(ordinal, Flight { lane, seq, failures, attempts });
        Action::Start(Start { ordinal, seq, key, attempt: attempts.saturating_add(1), failures, ready, item })
    }

    /// The lane whose turn it is: fresh deliveries and those that come back take turns.
    fn next_ready(&mut self) -> Option<LaneId> {
        self.is_turn_of_again = !self.is_turn_of_again;
        let (first, second) = if self.is_turn_of_again {
            (&mut self.ready_again, &mut self.ready)
        } else {
            (&mut self.ready, &mut self.ready_again)
        };
        first.pop_front().or_else(|| second.pop_front())
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
        self.flights.len() + self.ready.len() + self.ready_again.len() < self.settings.concurrency
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
    fn next_token(&self) -> Option<Timestamp> {
        let has_ready = !self.ready.is_empty() || !self.ready_again.is_empty();
        let has_permit = self.flights.len() < self.settings.concurrency;
        self.bucket.as_ref().filter(|_| has_ready && has_permit).map(Bucket::next)
    }
}
