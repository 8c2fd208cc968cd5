//! The window, shared out so that nothing that arrives can starve the rest.
//!
//! What runs has `concurrency` places. Of the rest of the window one half is for the queue, a quarter for
//! deliveries that come back (retries), a quarter for deliveries that had been put aside. Places are
//! reserved when the store is asked, so an answer always fits.

use super::Settings;

/// Which share of the window a delivery in memory takes until it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Came along the queue.
    Fresh,
    /// Came back: a retry, a snooze, a repair.
    Again,
    /// Had been put aside.
    Aside,
}

/// One share.
#[derive(Debug, Default)]
pub(super) struct Share {
    cap: usize,
    /// Deliveries in memory that have not started.
    pub(super) held: usize,
    /// Deliveries that the store was asked for.
    pub(super) asked: usize,
}

impl Share {
    /// Places that are free.
    pub(super) fn room(&self) -> usize {
        self.cap.saturating_sub(self.held + self.asked)
    }

    /// Whether at least half of the places are free.
    pub(super) fn is_low(&self) -> bool {
        self.room() > 0 && self.room() * 2 >= self.cap
    }
}

/// All shares.
#[derive(Debug, Default)]
pub(super) struct Shares {
    pub(super) fresh: Share,
    pub(super) again: Share,
    pub(super) aside: Share,
}

impl Shares {
    pub(super) fn new(settings: &Settings) -> Self {
        let rest = settings.window - settings.concurrency;
        let quarter = (rest / 4).max(1);
        let share = |cap| Share { cap, ..Share::default() };
        Self { fresh: share(rest - 2 * quarter), again: share(quarter), aside: share(quarter) }
    }

    pub(super) fn of(&mut self, class: Class) -> &mut Share {
        match class {
            Class::Fresh => &mut self.fresh,
            Class::Again => &mut self.again,
            Class::Aside => &mut self.aside,
        }
    }

    /// Deliveries in memory that have not started.
    pub(super) fn held(&self) -> usize {
        self.fresh.held + self.again.held + self.aside.held
    }
}
