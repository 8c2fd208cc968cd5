//! Ports: the ways into the subscriptions that run now.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Port;
use super::live::Live;
use crate::store::SubscriptionId;

/// The ports of the subscriptions that have an actor. Cheap to clone; clones share them, so that everybody
/// finds the same ones after a change of the wiring.
///
/// Whoever acts on a subscription and tells it afterwards asks for the port then, not before: meanwhile it
/// may have been wired anew.
#[derive(Debug, Clone)]
pub struct Ports(Live<BTreeMap<SubscriptionId, Port>>);

impl Ports {
    /// These ports.
    pub fn new(ports: impl IntoIterator<Item = Port>) -> Self {
        Self(Live::new(ports.into_iter().map(|port| (port.id, port)).collect()))
    }

    /// The port of a subscription; `None` when it has no actor.
    pub fn get(&self, id: &SubscriptionId) -> Option<Port> {
        self.0.now().get(id).cloned()
    }

    /// All of them, in the order of their numbers.
    pub fn values(&self) -> impl Iterator<Item = Port> + use<> {
        let ports: Vec<Port> = self.0.now().values().cloned().collect();
        ports.into_iter()
    }

    /// The table as it is now, for who looks up many.
    pub(crate) fn now(&self) -> Arc<BTreeMap<SubscriptionId, Port>> {
        self.0.now()
    }

    /// Puts others in their place.
    pub(crate) fn switch(&self, ports: BTreeMap<SubscriptionId, Port>) {
        self.0.switch(ports);
    }
}
