//! Routing: which subscriptions get an event, decided once by its name.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::event::{EventName, Fact, PatternSet, Timestamp};
use crate::store::{Routed, SubscriptionId};

/// Most event names whose routes are remembered; names come from outside, so there must be a limit.
const REMEMBERED: usize = 4_096;

/// The wiring as the bus uses it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Routing(Arc<Table>);

#[derive(Debug)]
struct Table {
    subscriptions: Vec<(SubscriptionId, PatternSet)>,
    remembered: RwLock<HashMap<EventName, Arc<[SubscriptionId]>>>,
}

impl Routing {
    /// The routing of these subscriptions.
    pub fn new(subscriptions: Vec<(SubscriptionId, PatternSet)>) -> Self {
        Self(Arc::new(Table { subscriptions, remembered: RwLock::default() }))
    }

    /// The subscriptions that get an event of this name, in the order of their numbers.
    pub fn of(&self, name: &EventName) -> Arc<[SubscriptionId]> {
        let remembered = self.0.remembered.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(routes) = remembered.get(name) {
            return Arc::clone(routes);
        }
        drop(remembered);
        let matching = self.0.subscriptions.iter().filter(|(_, on)| on.matches(name));
        let routes: Arc<[SubscriptionId]> = matching.map(|(id, _)| *id).collect();
        let mut remembered = self.0.remembered.write().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(name.clone(), Arc::clone(&routes));
        routes
    }

    /// A fact of the bus's own, on its way to those who subscribe to it by name.
    pub fn fact(&self, fact: Fact, at: Timestamp) -> Option<Routed> {
        let event = Arc::new(fact.event(at)?);
        let routes = self.of(&event.name).to_vec();
        Some(Routed::new(event, routes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_goes_to_every_subscription_whose_patterns_match() {
        let on = |patterns: &[&str]| PatternSet::parse(patterns).unwrap();
        let routing = Routing::new(vec![
            (SubscriptionId(1), on(&["purchase.submitted"])),
            (SubscriptionId(2), on(&["purchase.>"])),
            (SubscriptionId(3), on(&["account.opened"])),
        ]);
        let name = EventName::new("purchase.submitted").unwrap();

        assert_eq!(*routing.of(&name), [SubscriptionId(1), SubscriptionId(2)]);
        assert_eq!(*routing.of(&name), [SubscriptionId(1), SubscriptionId(2)], "remembered");
    }
}
