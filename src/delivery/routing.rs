//! Routing: which subscriptions get an event, decided once by its name, and by its attributes for those that
//! ask for them.

use std::sync::{Arc, PoisonError, RwLock};

use foldhash::HashMap;

use super::live::Live;
use crate::event::{Envelope, EventName, Fact, Filter, PatternSet, Timestamp};
use crate::store::{Routed, SubscriptionId};

/// Most event names whose routes are remembered; names come from outside, so there must be a limit.
const REMEMBERED: usize = 4_096;

/// The wiring as the bus uses it. Cheap to clone; clones share it, so that a change reaches everybody.
#[derive(Debug, Clone)]
pub struct Routing(Live<Table>);

#[derive(Debug)]
struct Table {
    subscriptions: Vec<(SubscriptionId, PatternSet)>,
    /// Only those that are not empty.
    filters: HashMap<SubscriptionId, Filter>,
    /// Routes of the names that patterns say in full: nearly all events have one of these.
    named: HashMap<EventName, Vec<SubscriptionId>>,
    remembered: RwLock<HashMap<EventName, Vec<SubscriptionId>>>,
}

impl Routing {
    /// The routing of these subscriptions.
    pub fn new(subscriptions: Vec<(SubscriptionId, PatternSet)>) -> Self {
        Self::filtered(subscriptions, [])
    }

    /// Routes by these subscriptions and filters from now on. An event that is being routed at this moment may
    /// still go by the old ones.
    pub(crate) fn switch(
        &self,
        subscriptions: Vec<(SubscriptionId, PatternSet)>,
        filters: impl IntoIterator<Item = (SubscriptionId, Filter)>,
    ) {
        self.0.switch(Table::new(subscriptions, filters));
    }

    /// The same, where some subscriptions take only what their filter takes.
    pub fn filtered(
        subscriptions: Vec<(SubscriptionId, PatternSet)>,
        filters: impl IntoIterator<Item = (SubscriptionId, Filter)>,
    ) -> Self {
        Self(Live::new(Table::new(subscriptions, filters)))
    }

    /// What a subscription's events must be beside their names; `None` when it takes all of them.
    pub fn filter(&self, id: SubscriptionId) -> Option<Filter> {
        self.0.look(|table| table.filters.get(&id).cloned())
    }

    /// The event with where it goes and which filters have kept it out. Attributes are looked at only for
    /// subscriptions that ask for them.
    pub fn routed(&self, event: Arc<Envelope>) -> Routed {
        let (routes, filtered) = self.0.look(|table| table.split(&event));
        Routed { filtered, ..Routed::new(event, routes) }
    }

    /// The subscriptions that listen to events of this name, in the order of their numbers.
    pub fn of(&self, name: &EventName) -> Vec<SubscriptionId> {
        self.0.look(|table| table.of(name))
    }

    /// A fact of the bus's own, on its way to those who subscribe to it by name.
    pub fn fact(&self, fact: Fact, at: Timestamp) -> Option<Routed> {
        let event = Arc::new(fact.event(at)?);
        Some(self.routed(event))
    }
}

impl Table {
    fn new(
        subscriptions: Vec<(SubscriptionId, PatternSet)>,
        filters: impl IntoIterator<Item = (SubscriptionId, Filter)>,
    ) -> Self {
        let filters = filters.into_iter().filter(|(_, filter)| !filter.is_empty()).collect();
        let patterns = subscriptions.iter().flat_map(|(_, on)| on.patterns());
        let names = patterns.filter_map(|pattern| EventName::new(pattern.exact()?).ok());
        let named = names.map(|name| (name.clone(), matching(&subscriptions, &name))).collect();
        Self { subscriptions, filters, named, remembered: RwLock::default() }
    }

    /// Where an event goes, and which filters have kept it out.
    fn split(&self, event: &Envelope) -> (Vec<SubscriptionId>, Vec<SubscriptionId>) {
        let all = self.of(&event.name);
        if self.filters.is_empty() {
            return (all, Vec::new());
        }
        all.into_iter().partition(|id| self.filters.get(id).is_none_or(|filter| filter.takes(event)))
    }

    /// What is remembered belongs to its table: it goes with it.
    fn of(&self, name: &EventName) -> Vec<SubscriptionId> {
        if let Some(routes) = self.named.get(name) {
            return routes.clone();
        }
        let remembered = self.remembered.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(routes) = remembered.get(name) {
            return routes.clone();
        }
        drop(remembered);
        let routes = matching(&self.subscriptions, name);
        let mut remembered = self.remembered.write().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(name.clone(), routes.clone());
        routes
    }
}

/// The subscriptions that listen to events of a name.
fn matching(subscriptions: &[(SubscriptionId, PatternSet)], name: &EventName) -> Vec<SubscriptionId> {
    subscriptions.iter().filter(|(_, on)| on.matches(name)).map(|(id, _)| *id).collect()
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
        let of = |name: &str| routing.of(&EventName::new(name).unwrap());

        assert_eq!(of("purchase.submitted"), [SubscriptionId(1), SubscriptionId(2)]);
        assert_eq!(of("purchase.paid"), [SubscriptionId(2)], "which no pattern names");
        assert_eq!(of("purchase.paid"), [SubscriptionId(2)], "remembered");
        assert_eq!(of("account.closed"), []);
    }

    #[test]
    fn a_filter_keeps_an_event_out_of_its_own_subscription_only() {
        let on = PatternSet::parse(&["order.placed"]).unwrap();
        let web = Filter::default().with("channel", "web").unwrap();
        let subscriptions = vec![(SubscriptionId(1), on.clone()), (SubscriptionId(2), on)];
        let routing = Routing::filtered(subscriptions, [(SubscriptionId(2), web)]);
        let routed = |channel: Option<&str>| {
            let mut event = crate::store::conformance::envelope("e");
            event.name = EventName::new("order.placed").unwrap();
            event.extensions.extend(channel.map(|channel| ("channel".to_owned(), channel.to_owned())));
            let Routed { routes, filtered, .. } = routing.routed(Arc::new(event));
            (routes, filtered)
        };

        assert_eq!(routed(Some("web")), (vec![SubscriptionId(1), SubscriptionId(2)], vec![]));
        assert_eq!(routed(Some("shop")), (vec![SubscriptionId(1)], vec![SubscriptionId(2)]));
        assert_eq!(routed(None), (vec![SubscriptionId(1)], vec![SubscriptionId(2)]));
    }

    #[test]
    fn a_switch_reaches_every_clone_and_forgets_what_was_remembered() {
        let on = PatternSet::parse(&["a.b"]).unwrap();
        let routing = Routing::new(vec![(SubscriptionId(1), on.clone())]);
        let (other, name) = (routing.clone(), EventName::new("a.b").unwrap());
        assert_eq!(*other.of(&name), [SubscriptionId(1)]);

        routing.switch(vec![(SubscriptionId(2), on)], []);

        assert_eq!(*other.of(&name), [SubscriptionId(2)]);
    }
}
