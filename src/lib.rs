//! Tidegate: a durable, actor-based event bus. Steps are wired to global events by a config file, and what
//! the bus has acknowledged is on disk.
//!
//! To run it and to see a flow, read the `README.md` of the repository; for how it is made, its
//! `ARCHITECTURE.md`. To write a step, read the page of [`step`], with [`prelude`] at hand:
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
//! struct OrderShipped { order: String }
//! impl Event for OrderShipped { const NAME: &'static str = "order.shipped"; }
//!
//! struct Ship;
//! impl Step for Ship { const NAME: &'static str = "ship"; type State = (); }
//! impl On<OrderPlaced> for Ship {
//!     type Emits = OrderShipped;
//!     async fn on(&self, event: OrderPlaced, _: &mut (), _: &StepContext) -> Result<OrderShipped, StepError> {
//!         Ok(OrderShipped { order: event.order })
//!     }
//! }
//!
//! let steps = Registry::new().step(Ship).on::<OrderPlaced>().check()?;
//! # assert_eq!(steps.names(), ["ship"]);
//! # Ok::<(), RegistryError>(())
//! ```
//!
//! An application hands its steps to [`cli::main`], tests them alone with `StepContext::for_test()`, and
//! together with `testing::Harness` (feature `testing`).
//!
//! # The rooms, in reading order
//!
//! A room imports only from rooms above it.
//!
//! | room | what it is for |
//! |---|---|
//! | [`event`] | the envelope that travels; names, patterns, CloudEvents |
//! | [`clock`] | the only source of "now" |
//! | [`activity`] | counts work in hand, so that "idle" is a fact |
//! | [`retry`] | again after this long, or give up |
//! | [`cron`] | when a schedule is due, by the clocks of its zone |
//! | [`metrics`] | every metric, in one list |
//! | [`step`] | what an application writes |
//! | [`config`] | typed settings, and every problem of the files at once |
//! | [`topology`] | the wiring as a graph |
//! | [`store`] | the durability contract, its engines, and the suite they pass |
//! | [`committer`] | the one who writes |
//! | [`delivery`] | one subscription at work |
//! | [`bus`] | the central actor, and the handle on it |
//! | [`http`] | the door |
//! | [`runtime`] | start, drain, shutdown |
//! | [`cli`] | the command line |
//! | `testing` | the whole bus in a test (feature `testing`) |
//!
//! Its promises, with the test that holds each, stand in the README under "Guarantees".

pub mod activity;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod committer;
pub mod config;
pub mod cron;
pub mod delivery;
pub mod event;
pub mod http;
pub mod metrics;
pub mod retry;
pub mod runtime;
pub mod step;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod topology;

pub use step::{After, Either, Event, On, OnAny, Registry, Step, StepContext, StepError, StepResult};

/// Everything the author of a step needs: `use tidegate::prelude::*;`.
pub mod prelude {
    pub use crate::step::{
        After, Either, Event, On, OnAny, Registry, RegistryError, Step, StepContext, StepError, StepResult,
    };
}

/// The Rust code of the README, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
