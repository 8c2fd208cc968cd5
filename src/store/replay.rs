//! Replay: what becomes of an event that a subscription is to get again.

use serde::{Deserialize, Serialize};

/// What a replay does with one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// The subscription has never had it: it gets it.
    New,
    /// Its delivery is at rest: it is opened again, under the replay's generation.
    Again,
    /// Its delivery is still open, so that it will be handled anyway: left alone.
    Open,
    /// Its delivery is a dead letter, which waits for a person: left alone.
    Dead,
    /// Its payload is past retention, or there is no such event: left alone.
    Gone,
}

/// How many events of a replay met which fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fates {
    /// [`Fate::New`].
    pub new: u64,
    /// [`Fate::Again`].
    pub again: u64,
    /// [`Fate::Open`].
    pub open: u64,
    /// [`Fate::Dead`].
    pub dead: u64,
    /// [`Fate::Gone`].
    pub gone: u64,
}

impl Fates {
    /// Counts one more.
    pub const fn count(&mut self, fate: Fate) {
        *match fate {
            Fate::New => &mut self.new,
            Fate::Again => &mut self.again,
            Fate::Open => &mut self.open,
            Fate::Dead => &mut self.dead,
            Fate::Gone => &mut self.gone,
        } += 1;
    }

    /// The counts of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            new: self.new + other.new,
            again: self.again + other.again,
            open: self.open + other.open,
            dead: self.dead + other.dead,
            gone: self.gone + other.gone,
        }
    }
}
