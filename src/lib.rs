//! Tidegate: a durable, actor-based event bus. Steps are wired to global events by a config file.

pub mod clock;
pub mod event;
