//! Step: what an application writes.
//!
//! An author declares events (plain structs with a name), writes steps (structs that handle events) and
//! lists them in a [`Registry`]. Everything else is the runtime's: a step is handed the decoded event, its
//! own state for the key, and a [`StepContext`]; it returns the events that say what it has done. New
//! state, emitted events and the fact that the event is handled become durable together or not at all, so a
//! step never publishes and never stores.
//!
//! A first step, whole:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use tidegate::prelude::*;
//!
//! #[derive(Serialize, Deserialize)]
//! struct OrderPlaced { order: String }
//! impl Event for OrderPlaced { const NAME: &'static str = "order.placed"; }
//!
//! #[derive(Serialize, Deserialize)]
//! struct OrderGreeted { order: String }
//! impl Event for OrderGreeted { const NAME: &'static str = "order.greeted"; }
//!
//! struct Greet;
//! impl Step for Greet { const NAME: &'static str = "greet"; type State = (); }
//! impl On<OrderPlaced> for Greet {
//!     type Emits = OrderGreeted;
//!     async fn on(&self, event: OrderPlaced, _: &mut (), _: &StepContext) -> Result<OrderGreeted, StepError> {
//!         Ok(OrderGreeted { order: event.order })
//!     }
//! }
//!
//! let steps = Registry::new().step(Greet).on::<OrderPlaced>().check()?;
//! assert_eq!(steps.names(), ["greet"]);
//! # Ok::<(), RegistryError>(())
//! ```
//!
//! The runtime's side of this room is [`ErasedStep`]: the same step with its types taken away, which
//! `delivery` drives, and [`Catalog`]: what the wiring check and the drawings need to know of all steps.
//!
//! This room knows no store, no bus and no HTTP; actix is known to `actor` alone.

mod actor;
mod author;
mod cancellation;
mod catalog;
mod context;
mod emits;
mod erased;
mod error;
mod event_trait;
mod registry;
#[cfg(feature = "testing")]
mod test_context;
#[cfg(test)]
mod tests;
mod typed;

pub use actor::Delivery;
pub use author::{On, OnAny, Step};
pub use cancellation::Cancellation;
pub use catalog::{Catalog, StepInfo};
pub use context::{ContextParts, Effects, StepContext};
pub use emits::{After, Either, Emits, Emitted};
pub use erased::{Decoded, ErasedStep, EventType, Handled, Lane};
pub use error::{StepError, StepResult};
pub use event_trait::Event;
pub use registry::{Registry, RegistryError, RegistryProblem, StepEntry};
#[doc(hidden)]
pub use serde_json::Error as JsonError;
#[cfg(feature = "testing")]
pub use test_context::TestContext;
