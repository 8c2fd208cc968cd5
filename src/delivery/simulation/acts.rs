//! What happens to the core beside its work: attempts end, people repair and park, the process dies, limits change.

use std::time::Duration;

use super::super::{BreakerState, Core, Finish, Mended, Order, Verdict};
use super::model::{State, Write};
use super::{World, some_breaker};
use crate::retry::Exhausted;
use crate::store::{DeadReason, Ordinal};

impl World {
    pub(super) fn finish(&mut self, kindly: bool) {
        let Some(&ordinal) = self.flights.keys().nth(self.dice.below(self.flights.len().max(1))) else {
            return;
        };
        self.flights.remove(&ordinal);
        self.again_flights.remove(&ordinal);
        if self.probe == Some(ordinal) {
            self.probe = None;
        }
        let how = match self.dice.below(if kindly { 1 } else { 14 }) {
            0..=6 => Finish::Done,
            7 => Finish::Skipped,
            8 => Finish::Snoozed(Duration::from_millis(15)),
            9 => Finish::Interrupted,
            10 => Finish::Dead(DeadReason::Fatal),
            11 => Finish::Failed { retry_after: Some(Duration::from_millis(3)) },
            _ => Finish::Failed { retry_after: None },
        };
        let verdict = self.core.finished(ordinal, how, self.now);
        self.note(format!("finish {ordinal:?} {how:?} -> {verdict:?}"));
        self.due.remove(&ordinal);
        match verdict {
            Verdict::Nothing => {
                // As if it had not run: it was its turn, whatever time the store has on record.
                self.due.insert(ordinal, self.now);
                return;
            }
            Verdict::Done | Verdict::Skipped | Verdict::Dead { parks: false, .. } => {
                self.ended.insert(ordinal);
            }
            Verdict::Dead { .. } => {}
            Verdict::Retry { due } | Verdict::Spared { due } | Verdict::Snooze { due } => {
                self.due.insert(ordinal, due);
            }
        }
        self.unstaged.push_back(Write::Settle(ordinal, verdict));
    }

    pub(super) fn decision(&mut self) -> Mended {
        match self.dice.below(3) {
            0 => Mended::Released,
            1 => Mended::Again,
            _ => Mended::AgainAt(self.now.plus_millis(self.dice.below(120) as u64)),
        }
    }

    pub(super) fn repair(&mut self, how: Mended) {
        let dead = self.durable.0.iter().filter(|(_, row)| matches!(row.state, State::Dead { .. }));
        let dead: Vec<Ordinal> = dead.map(|(&ordinal, _)| ordinal).collect();
        if !dead.is_empty() {
            let ordinal = dead[self.dice.below(dead.len())];
            // The store refuses a second repair; the bus calls the core only for what applied.
            let is_asked = |write: &Write| matches!(write, Write::Repair(other, _) if *other == ordinal);
            if !self.unstaged.iter().chain(&self.unsynced).any(is_asked) {
                self.unstaged.push_back(Write::Repair(ordinal, how));
            }
        }
    }

    /// Somebody lets a delivery come before its time, whether it waits or not.
    pub(super) fn hasten(&mut self) {
        let known = self.durable.0.len();
        if let Some((&ordinal, row)) = self.durable.0.iter().nth(self.dice.below(known.max(1))) {
            self.due.insert(ordinal, self.now);
            self.core.hasten(ordinal, &row.key);
            self.note(format!("hasten {ordinal:?}"));
        }
    }

    /// The process dies: what was not synced is lost, and a new one starts from the disk.
    pub(super) fn crash(&mut self) {
        self.note("crash".to_owned());
        // A write that was cut off may have reached the disk all the same, up to any point.
        let survive = self.dice.below(self.unsynced.len() + 1);
        for write in self.unsynced.drain(..).take(survive) {
            self.durable.apply(&write);
        }
        self.staged = self.durable.clone();
        self.unstaged.clear();
        self.questions.clear();
        self.answers.clear();
        self.untold.clear();
        self.flights.clear();
        self.ended.clear();
        self.due.clear();
        self.again.clear();
        self.again_flights.clear();
        self.breaker = BreakerState::Closed;
        self.probe = None;
        self.convicted = None;
        self.history = 0;
        self.synced = 0;
        let seed = self.dice.roll();
        self.core = Core::new(self.settings.clone(), seed);
        self.is_deaf = false;
        self.core.pause(self.paused);
        self.parked.iter().for_each(|key| self.core.park_key(key));
        self.suspect();
        let mut pending = self.durable.pending(self.lists_all);
        let rest = pending.split_off(self.dice.below(pending.len() + 1));
        self.core.restore(pending);
        self.core.restore(rest);
    }

    /// The start finds some that the process may have died of, and perhaps one that it has.
    pub(super) fn suspect(&mut self) {
        let open =
            self.durable.0.iter().filter(|(_, row)| matches!(row.state, State::Ready | State::Waiting(_)));
        let mut open: Vec<Ordinal> =
            open.map(|(&ordinal, _)| ordinal).take(self.settings.concurrency).collect();
        if self.dice.one_in(3) && !open.is_empty() {
            let convicted = open.swap_remove(self.dice.below(open.len()));
            self.core.convict(convicted);
            self.convicted = Some(convicted);
        }
        if self.dice.one_in(2) {
            self.core.suspect(open);
        }
    }

    /// A person parks a key, or resumes it.
    pub(super) fn park(&mut self) {
        let key = format!("k{}", self.dice.below(4));
        if self.settings.order == Order::None {
            return;
        }
        self.note(format!("park or resume {key}"));
        if self.parked.remove(&key) {
            self.core.resume_key(&key);
        } else {
            self.core.park_key(&key);
            self.parked.insert(key);
        }
    }

    pub(super) fn resume_all(&mut self) {
        for key in std::mem::take(&mut self.parked) {
            self.core.resume_key(&key);
        }
    }

    /// The config changes.
    pub(super) fn reload(&mut self) {
        // What was decided under the settings before is carried out.
        self.poll();
        self.settings.concurrency = 1 + self.dice.below(6);
        self.settings.retry.max_attempts = 1 + u32::try_from(self.dice.below(4)).unwrap();
        self.settings.retry_share = [0.1, 0.5, 1.0][self.dice.below(3)];
        self.settings.breaker = some_breaker(&mut self.dice);
        self.settings.exhausted = if self.dice.one_in(2) { Exhausted::Park } else { Exhausted::Skip };
        self.note(format!("reload {:?}", self.settings));
        self.core.set_settings(&self.settings);
        self.poll();
    }
}
