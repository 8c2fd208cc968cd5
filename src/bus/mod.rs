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
mod compensation;
mod crew;
mod delayed;
mod dispatch;
mod error;
mod explain;
mod facts;
mod front;
mod gauges;
mod handle;
mod health;
mod jobs;
mod mend;
mod query;
mod reload;
mod render;
mod repair;
mod replay;
mod rewire;
mod schedules;
mod search;
mod skew;
mod start;
mod states;
mod steer;
mod timers;
mod unheard;
mod upkeep;
pub mod view;
mod watch;
mod watchdog;

pub use actor::BusThread;
pub use admission::{Admission, AdmissionLimits};
pub use audit::Operator;
pub use error::{PublishError, QueryError, Readiness};
pub use explain::{Cause, CauseView, EventOf, ExplainView};
pub use facts::{FactFilter, FactView};
pub use handle::{Accepted, Bus};
pub use health::Health;
pub use jobs::{
    AlikeView, JobAct, JobAsk, JobCounts, JobFilter, JobItem, JobState, JobView, Pace, Rehearsal,
};
pub use mend::{EmitByHand, RepairRequest, When};
pub use reload::{KeyDiff, ReloadAsk, ReloadError, SubscriptionDiff, WiringDiff, WiringFault};
pub use replay::{ReplayFrom, ReplayRequest};
pub use rewire::Rewire;
pub use schedules::{Missed, Schedule};
pub use search::{EventFilter, EventSummary, FirstEvent, FlowFilter, FlowSelection, FlowSummary};
pub use start::{BusSettings, BusStart, Reach, Started, start};
pub use upkeep::VerifyView;
pub use watch::Watch;
