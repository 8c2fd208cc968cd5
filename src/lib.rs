//! Tidegate: a durable, actor-based event bus. Steps are wired to global events by a config file.

pub mod activity;
pub mod clock;
pub mod committer;
pub mod config;
pub mod delivery;
pub mod event;
pub mod metrics;
pub mod retry;
pub mod step;
pub mod store;
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
