//! Delivery: one subscription at work.
//!
//! [`Core`] decides what runs, what waits and what is put aside; it has no clock, no thread and no I/O.
//! Calls go in, [`Action`]s come out of [`Core::poll`]; the [`SubscriptionActor`] carries them out and reports
//! back. A simulator and property tests drive the same struct.
//!
//! ```text
//!  commit ── appended ──┐                        ┌── Start ──> attempt ── finished ──> Verdict: settle
//!  store <── Fetch ─────┤   lanes, one per key   ├── Load ──> store (a retry is due)
//!        ─── fetched ──>┘   ready / busy / held  └── Defer ─> store (a busy key's later events)
//! ```
//!
//! The store is the truth. What the core holds is a bounded window of it: a delivery that waits for its time
//! or for a person is a few numbers here, and its event is read again when its turn has come.

mod action;
mod actor;
mod answers;
mod aside;
mod attempt;
mod breaker;
mod compensations;
mod core;
#[cfg(test)]
mod desk;
mod effects;
pub(crate) mod facts;
#[cfg(test)]
mod failing_tests;
mod give_up;
mod hands;
mod inbox;
mod lanes;
mod leaving;
mod limits;
#[cfg(test)]
mod limits_tests;
mod live;
mod look;
mod mended;
mod outcomes;
mod poll;
mod port;
mod ports;
mod rate;
mod reading;
#[cfg(test)]
mod reading_tests;
mod reads;
#[cfg(test)]
mod repair_tests;
mod routing;
mod schedule;
mod settle;
mod shares;
#[cfg(test)]
mod simulation;
mod solo;
mod starts;
mod states;
mod steering;
mod suspects;
mod takers;
#[cfg(test)]
mod tests;
mod turns;

pub(crate) use action::Carried;
pub use action::{Action, Arrival, Finish, GiveUp, Mended, Order, Settings, Start, Verdict};
pub use actor::{AtStart, Subscription, SubscriptionActor, SubscriptionParts};
pub use breaker::{BreakerSettings, BreakerState};
pub(crate) use compensations::Compensations;
pub use core::Core;
pub(crate) use inbox::Inbox;
pub(crate) use leaving::Rewired;
pub(crate) use live::Live;
pub use look::{Holder, PortLook, RunningAttempt};
pub use port::Port;
pub(crate) use port::{FlowBell, Handed, Input};
pub use ports::Ports;
pub use rate::Rate;
pub(crate) use reads::Reads;
pub use routing::Routing;
pub(crate) use settle::{Emitting, ON_DEAD_ORDINAL, source_of};
pub use suspects::{SUSPECTS_MAX, SuspectRecord, Suspicion, examine};
