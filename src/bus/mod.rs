//! Bus: the central actor, and the handle through which everybody reaches it.
//!
//! Publishing is: take room ([`Admission`]), decide the routes ([`Routing`](crate::delivery::Routing)), hand the change to the bus
//! actor, wait until its group is on disk. Everything else that becomes durable (outcomes of attempts,
//! repairs, releases of delayed events) goes the same way, through the one committer.
//!
//! ```text
//! HTTP, tests ── Bus ──┐                   ┌─> subscriptions (hints)
//! subscriptions ───────┼─> BusActor ──group─> committer ──> store
//! timers, operators ───┘                   └─> watchers of flows
//! ```
//!
//! The bus does not know what a step is made of, nor who listens when an event is published.

mod actor;
mod admission;
mod at_start;
mod audit;
mod crew;
mod dispatch;
mod error;
mod gauges;
mod handle;
mod health;
mod query;
mod reload;
mod render;
mod repair;
mod rewire;
mod start;
mod steer;
mod timers;
pub mod view;
mod watch;

pub use admission::{Admission, AdmissionLimits};
pub use audit::Operator;
pub use error::{PublishError, QueryError, Readiness};
pub use handle::{Accepted, Bus};
pub use health::Health;
pub use reload::{KeyDiff, ReloadAsk, ReloadError, SubscriptionDiff, WiringDiff, WiringFault};
pub use rewire::Rewire;
pub use start::{BusSettings, BusStart, Reach, Started, start};
pub use watch::Watch;
