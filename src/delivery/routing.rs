//! Routing: which subscriptions get an event, decided once by its name.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::live::Live;
use crate::event::{EventName, Fact, PatternSet, Timestamp};
use crate::store::{Routed, SubscriptionId};

/// Most event names whose routes are remembered; names come from outside, so there must be a limit.
const REMEMBERED: usize = 4_096;

/// The wiring as the bus uses it. Cheap to clone; clones share it, so that a change reaches everybody.
#[derive(Debug, Clone)]
pub struct Routing(Live<Table>);

#[derive(Debug)]
struct Table {
    subscriptions: Vec<(SubscriptionId, PatternSet)>,
    remembered: RwLock<HashMap<EventName, Arc<[SubscriptionId]>>>,
}

impl Routing {
    /// The routing of these subscriptions.
    pub fn new(subscriptions: Vec<(SubscriptionId, PatternSet)>) -> Self {
        Self(Live::new(Table { subscriptions, remembered: RwLock::default() }))
    }

    /// Routes by these subscriptions from now on. An event that is being routed at this moment may still go by
    /// the old ones.
    pub(crate) fn switch(&self, subscriptions: Vec<(SubscriptionId, PatternSet)>) {
        self.0.switch(Table { subscriptions, remembered: RwLock::default() });
    }

    /// The subscriptions that get an event of this name, in the order of their numbers.
    pub fn of(&self, name: &EventName) -> Arc<[SubscriptionId]> {
        // What is remembered belongs to its table: it goes with it.
        let table = self.0.now();
        let remembered = table.remembered.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(routes) = remembered.get(name) {
            return Arc::clone(routes);
        }
        drop(remembered);
        let matching = table.subscriptions.iter().filter(|(_, on)| on.matches(name));
        let routes: Arc<[SubscriptionId]> = matching.map(|(id, _)| *id).collect();
        let mut remembered = table.remembered.write().unwrap_or_else(PoisonError::into_inner);
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

    #[test]
    fn a_switch_reaches_every_clone_and_forgets_what_was_remembered() {
        let on = PatternSet::parse(&["a.b"]).unwrap();
        let routing = Routing::new(vec![(SubscriptionId(1), on.clone())]);
        let (other, name) = (routing.clone(), EventName::new("a.b").unwrap());
        assert_eq!(*other.of(&name), [SubscriptionId(1)]);

        routing.switch(vec![(SubscriptionId(2), on)]);

        assert_eq!(*other.of(&name), [SubscriptionId(2)]);
    }
}
