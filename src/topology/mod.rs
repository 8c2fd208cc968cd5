//! Topology: events, subscriptions, and what leads where, as one graph.
//!
//! ```text
//! event ──hears──> subscription ──emits / on dead──> event
//! ```
//!
//! The graph is made from the wiring and from what the steps say they may emit, before anything runs.
//! It answers which subscriptions a delivery may still lead to, and is drawn as Mermaid, DOT or JSON.
//! It knows nothing of what runs at the moment.

mod graph;
mod render;

pub use graph::{Edge, EventNode, Graph, SubscriptionNode};
