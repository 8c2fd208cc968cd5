//! Testing: the whole bus in a test, with a clock that is moved by hand (feature `testing`).
//!
//! A [`Harness`] runs the real bus, actors and all, on the in-memory engine. [`Harness::run_until_idle`]
//! returns when nothing can move any more: it waits for a fact (nothing is in hand), never for a time.
//! [`Harness::advance`] moves the clock, so that a test of hours takes milliseconds.
//!
//! ```
//! # use std::borrow::Cow;
//! use serde::{Deserialize, Serialize};
//! use tidegate::prelude::*;
//! use tidegate::testing::Harness;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Ordered { order: String }
//! impl Event for Ordered { const NAME: &'static str = "order.placed"; }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Shipped { order: String }
//! impl Event for Shipped { const NAME: &'static str = "order.shipped"; }
//!
//! #[derive(Debug)]
//! struct Ship;
//! impl Step for Ship { const NAME: &'static str = "ship"; type State = (); }
//! impl On<Ordered> for Ship {
//!     type Emits = Shipped;
//!     async fn on(&self, event: Ordered, (): &mut (), _: &StepContext) -> Result<Shipped, StepError> {
//!         Ok(Shipped { order: event.order })
//!     }
//! }
//!
//! let mut h = Harness::new(
//!     Registry::new().step(Ship).on::<Ordered>(),
//!     r#"
//!     [subscription.ship]
//!     step = "ship"
//!     on = ["order.placed"]
//!     "#,
//! );
//! h.publish("order.placed", serde_json::json!({"order": "o1"}));
//! h.run_until_idle();
//! h.assert_emitted("order.shipped");
//! ```
//!
//! Faults come by name and by seed: [`Harness::crash_at`] ends the process at a chosen point,
//! [`Harness::duplicate`] runs attempts twice, [`Harness::shuffle`] lets them end in another order.
//! [`prove_idempotent`] runs a flow against all of them and demands the same end.

#![expect(clippy::panic, reason = "a test that cannot go on ends with a panic")]

mod chaos;
mod disk;
mod fault;
mod harness;
mod look;
mod proof;

pub use chaos::Chaos;
pub use disk::SimDisk;
pub use fault::CrashPoint;
pub use harness::Harness;
pub use proof::{Proof, prove_idempotent};
