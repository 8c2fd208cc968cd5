//! What the bus answers when it cannot do what it was asked, and what the caller should do next.

use std::time::Duration;

use crate::event::EventName;
use crate::store::StoreError;

/// An event was not published. Unless it says otherwise, nothing was stored.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The bus holds as much as it may.
    #[error("the bus is saturated; publish again in {} s with the same id", retry_after.as_secs().max(1))]
    Saturated {
        /// When to try again.
        retry_after: Duration,
    },
    /// It recovers what its disk holds, and takes nothing before that is done.
    #[error("the bus starts and still recovers from its disk; publish again in a second with the same id")]
    Starting,
    /// The process ends.
    #[error("the bus is draining for its shutdown; publish again with the same id after the restart")]
    Draining,
    /// The disk is down to its reserve.
    #[error(
        "the disk has {free} bytes left and {reserve} are reserved for running work; make room, lower `store.retention` or `store.disk_reserve`, then publish again"
    )]
    DiskFull {
        /// Free bytes.
        free: u64,
        /// The reserve, in bytes.
        reserve: u64,
    },
    /// The id is taken by another event.
    #[error(
        "event {id:?} of source {source_name:?} is already published with another body; use a new id, or send the same name, key, subject, media type and data"
    )]
    Conflict {
        /// Which event of the batch, from 0.
        index: usize,
        /// Its id.
        id: String,
        /// Its source.
        source_name: String,
    },
    /// The name belongs to the bus.
    #[error(
        "event name {name:?} is reserved for the bus itself; publish under a name that does not begin with `tidegate.`"
    )]
    Reserved {
        /// The name.
        name: EventName,
    },
    /// Its `expirytime` is no time.
    #[error(
        "{text:?} is no time; write RFC 3339, for instance 2026-03-01T08:00:00Z, or leave `expirytime` out"
    )]
    BadExpiry {
        /// What is there.
        text: String,
    },
    /// The source belongs to the bus: ids under it are derived, and one that was taken would swallow an event.
    #[error(
        "source {source_name:?} is the bus's own; publish under one that is not `/tidegate` and does not begin with `/tidegate/`"
    )]
    ReservedSource {
        /// The source.
        source_name: String,
    },
    /// Nobody listens, and the bus is strict.
    #[error(
        "nobody listens to {name:?}{}; wire a subscription to it, or set `http.strict = false`",
        suggestion.as_ref().map_or(String::new(), |s| format!(", did you mean {s:?}"))
    )]
    Unheard {
        /// The name.
        name: EventName,
        /// The name that is nearest.
        suggestion: Option<String>,
    },
    /// The batch is too long.
    #[error("the batch holds more than {limit} events; publish it in parts")]
    TooMany {
        /// The most events of a batch.
        limit: usize,
    },
    /// The bus has ended; whether the event is stored is not known.
    #[error(
        "the bus has stopped ({cause}) and the outcome is unknown; publish again with the same id after the restart"
    )]
    Stopped {
        /// Why.
        cause: String,
    },
}

/// A question to the bus, or an act of an operator, has no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Never seen, as far as the bus remembers.
    #[error("{what} is not known; check the id and its source")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// It was here; its time to live is over.
    #[error(
        "{what} was here, but its status has outlived `http.status_ttl`; it is at rest and need not be published again"
    )]
    Gone {
        /// What was asked for.
        what: String,
    },
    /// The cursor is none that this list gave.
    #[error("cursor {cursor:?} is not of this list; pass the `next` of the page before, or leave it out")]
    BadCursor {
        /// The cursor.
        cursor: String,
    },
    /// It cannot be done as things stand.
    #[error("refused: {why}")]
    Refused {
        /// Why, and what to do instead.
        why: String,
    },
    /// What was asked for is wrong in itself.
    #[error("{pointer} {why}")]
    Invalid {
        /// Where, as a JSON pointer into the request.
        pointer: String,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// Too many questions at once.
    #[error("the bus is saturated; ask again in a moment")]
    Saturated,
    /// The store could not be read.
    #[error("the store cannot be read, the log says more: {0}")]
    Store(#[from] StoreError),
}

/// Whether the bus takes events.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readiness {
    /// It does.
    Ready,
    /// It recovers from disk.
    Starting,
    /// It ends.
    Draining,
    /// It does not, and a person has to look.
    Unhealthy {
        /// Why.
        cause: String,
    },
}
