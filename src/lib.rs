//! Tidegate: a durable, actor-based event bus. Steps are wired to global events by a config file.

pub mod activity;
pub mod bus;
pub mod clock;
pub mod committer;
pub mod config;
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
