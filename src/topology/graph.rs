//! The graph and the questions it answers.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::config::{Settings, SubscriptionSettings};
use crate::event::{EventName, PatternSet};
use crate::step::Catalog;

/// One event name of the wiring.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EventNode {
    /// Its name.
    pub name: String,
    /// The subscriptions that listen to it, sorted.
    pub heard_by: Vec<String>,
    /// The subscriptions that may emit it, dead letters included, sorted. Empty: it comes from outside only.
    pub emitted_by: Vec<String>,
}

/// One subscription of the wiring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubscriptionNode {
    /// Its name.
    pub name: String,
    /// The step it runs.
    pub step: String,
    /// Its patterns, as they were written.
    pub on: Vec<String>,
    #[serde(skip)]
    patterns: PatternSet,
    /// What it may emit, by the event it handles.
    #[serde(skip)]
    emits: BTreeMap<String, Vec<String>>,
    /// What it may emit on an event that no step knows.
    #[serde(skip)]
    emits_otherwise: Vec<String>,
    #[serde(skip)]
    on_dead: Option<String>,
    /// What undoes what it does; it leads nowhere before the flow is undone.
    #[serde(skip)]
    undoes: Vec<String>,
}

/// One arrow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Edge {
    /// A subscription listens to an event.
    Hears {
        /// The event.
        event: String,
        /// The subscription.
        subscription: String,
        /// The patterns that cover it.
        patterns: Vec<String>,
    },
    /// A subscription's step may emit an event.
    Emits {
        /// The subscription.
        subscription: String,
        /// The event.
        event: String,
        /// The events on which it may.
        on: Vec<String>,
    },
    /// What a subscription's step does may be undone by an event.
    Undoes {
        /// The subscription.
        subscription: String,
        /// The event.
        event: String,
    },
    /// A subscription emits an event for each of its dead letters.
    OnDead {
        /// The subscription.
        subscription: String,
        /// The event.
        event: String,
    },
}

/// The wiring as a graph. Everything in it is sorted by name, so that two of the same wiring are equal
/// and are drawn alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Graph {
    events: BTreeMap<String, EventNode>,
    subscriptions: BTreeMap<String, SubscriptionNode>,
    edges: Vec<Edge>,
}

impl Graph {
    /// The graph of a wiring. Steps that nothing is wired to are not in it.
    pub fn of(settings: &Settings, catalog: &Catalog) -> Self {
        let names = names(settings, catalog);
        let mut graph = Self::default();
        for subscription in settings.subscriptions.values() {
            let node = node(subscription, catalog, &names);
            graph.listen(&node, &names);
            graph.emit(&node);
            graph.subscriptions.insert(node.name.clone(), node);
        }
        graph.edges.sort();
        graph
    }

    fn listen(&mut self, node: &SubscriptionNode, names: &BTreeSet<EventName>) {
        for name in names.iter().filter(|name| node.patterns.matches(name)) {
            self.event(name.as_str()).heard_by.push(node.name.clone());
            let covering = node.patterns.patterns().iter().filter(|p| !p.is_exception() && p.covers(name));
            self.edges.push(Edge::Hears {
                event: name.to_string(),
                subscription: node.name.clone(),
                patterns: covering.map(|pattern| pattern.as_str().to_owned()).collect(),
            });
        }
    }

    fn emit(&mut self, node: &SubscriptionNode) {
        let subscription = &node.name;
        let mut outputs: BTreeMap<&String, Vec<String>> = BTreeMap::new();
        for (input, emitted) in &node.emits {
            for event in emitted {
                outputs.entry(event).or_default().push(input.clone());
            }
        }
        // A step that takes anything emits this too, though no known event leads to it.
        for event in &node.emits_otherwise {
            outputs.entry(event).or_default();
        }
        let emitters: BTreeSet<&String> =
            outputs.keys().copied().chain(&node.on_dead).chain(&node.undoes).collect();
        for event in emitters {
            self.event(event).emitted_by.push(subscription.clone());
        }
        self.edges.extend(outputs.into_iter().map(|(event, on)| Edge::Emits {
            subscription: subscription.clone(),
            event: event.clone(),
            on,
        }));
        self.edges.extend(
            node.undoes
                .iter()
                .map(|event| Edge::Undoes { subscription: subscription.clone(), event: event.clone() }),
        );
        self.edges.extend(
            node.on_dead
                .iter()
                .map(|event| Edge::OnDead { subscription: subscription.clone(), event: event.clone() }),
        );
    }

    fn event(&mut self, name: &str) -> &mut EventNode {
        self.events
            .entry(name.to_owned())
            .or_insert_with(|| EventNode { name: name.to_owned(), ..EventNode::default() })
    }

    /// The events that are heard or emitted, by name.
    pub fn events(&self) -> impl Iterator<Item = &EventNode> {
        self.events.values()
    }

    /// The subscriptions, by name.
    pub fn subscriptions(&self) -> impl Iterator<Item = &SubscriptionNode> {
        self.subscriptions.values()
    }

    /// The arrows, sorted.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// Events that are emitted and that no subscription listens to.
    pub fn heard_by_nobody(&self) -> impl Iterator<Item = &EventNode> {
        self.events().filter(|event| event.heard_by.is_empty())
    }

    /// Events that no subscription emits: they are published from outside, or never.
    pub fn emitted_by_nobody(&self) -> impl Iterator<Item = &EventNode> {
        self.events().filter(|event| event.emitted_by.is_empty())
    }

    /// The subscriptions that an event may lead to: those that hear it and all that follow.
    pub fn reachable_from_event(&self, event: &EventName) -> BTreeSet<&str> {
        self.reach([event.clone()])
    }

    /// The subscriptions that an open delivery may still lead to.
    ///
    /// The subscription itself is among them only when what it emits may come back to it. What a step
    /// may emit depends on the event it handles, and so does the answer. The pending steps of a flow
    /// are the union over its open deliveries, less those that the flow has reached already.
    pub fn reachable_from_delivery(&self, subscription: &str, event: &EventName) -> BTreeSet<&str> {
        let outputs = self.subscriptions.get(subscription).map(|node| node.outputs(event));
        self.reach(outputs.into_iter().flatten())
    }

    fn reach(&self, events: impl IntoIterator<Item = EventName>) -> BTreeSet<&str> {
        let mut open: Vec<EventName> = events.into_iter().collect();
        let mut seen: BTreeSet<EventName> = open.iter().cloned().collect();
        let mut reached = BTreeSet::new();
        while let Some(event) = open.pop() {
            for node in self.listeners(&event) {
                reached.insert(node.name.as_str());
                open.extend(node.outputs(&event).into_iter().filter(|output| seen.insert(output.clone())));
            }
        }
        reached
    }

    fn listeners(&self, event: &EventName) -> impl Iterator<Item = &SubscriptionNode> {
        self.subscriptions.values().filter(|node| node.patterns.matches(event))
    }
}

impl SubscriptionNode {
    /// What handling the event may emit, its death included.
    fn outputs(&self, event: &EventName) -> Vec<EventName> {
        let emitted = self.emits.get(event.as_str()).unwrap_or(&self.emits_otherwise);
        emitted.iter().chain(&self.on_dead).filter_map(|name| EventName::new(name).ok()).collect()
    }
}

/// Every event name that the steps or the wiring mention.
fn names(settings: &Settings, catalog: &Catalog) -> BTreeSet<EventName> {
    let wired = settings.subscriptions.values().flat_map(|subscription| {
        subscription.on.patterns().iter().filter_map(|pattern| EventName::new(pattern.exact()?).ok())
    });
    let dead = settings.subscriptions.values().filter_map(|subscription| subscription.on_dead.clone());
    let known = catalog.event_names().into_iter().filter_map(|name| EventName::new(name).ok());
    wired.chain(dead).chain(known).collect()
}

fn node(
    subscription: &SubscriptionSettings,
    catalog: &Catalog,
    names: &BTreeSet<EventName>,
) -> SubscriptionNode {
    let step = catalog.step(&subscription.step);
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let emits = names
        .iter()
        .filter(|name| subscription.on.matches(name))
        .filter_map(|name| Some((name.to_string(), owned(step?.emits_on(name.as_str())?))))
        .collect();
    SubscriptionNode {
        name: subscription.name.clone(),
        step: subscription.step.clone(),
        on: subscription.on.patterns().iter().map(|pattern| pattern.as_str().to_owned()).collect(),
        patterns: subscription.on.clone(),
        emits,
        emits_otherwise: step.filter(|step| step.any).map(|step| owned(&step.any_emits)).unwrap_or_default(),
        on_dead: subscription.on_dead.as_ref().map(ToString::to_string),
        undoes: step.map(|step| owned(&step.undoes)).unwrap_or_default(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::load_text;
    use crate::step::StepInfo;

    type Handlers = &'static [(&'static str, &'static [&'static str])];

    fn step(name: &'static str, on: Handlers) -> StepInfo {
        StepInfo {
            name,
            stateful: false,
            blocking: false,
            any: false,
            on: on.iter().map(|(event, emits)| (*event, emits.to_vec())).collect(),
            any_emits: Vec::new(),
            undoes: Vec::new(),
        }
    }

    pub(in crate::topology) fn shop() -> Graph {
        let catalog = Catalog {
            steps: vec![
                step(
                    "check",
                    &[("account.opened", &[]), ("order.submitted", &["order.checked", "order.refused"])],
                ),
                step("pay", &[("order.checked", &["order.paid"])]),
                step("refund", &[("order.refund_initiated", &[])]),
                step("idle", &[("idle.woken", &["idle.slept"])]),
                StepInfo { any: true, any_emits: vec!["log.written"], ..step("audit", &[]) },
            ],
        };
        let text = r#"
            [subscription.check]
            step = "check"
            on = ["account.opened", "order.submitted"]
            [subscription.pay]
            step = "pay"
            on = ["order.checked"]
            on_dead = "order.refund_initiated"
            [subscription.refund]
            step = "refund"
            on = ["order.refund_initiated"]
            [subscription.watch]
            step = "audit"
            on = ["order.paid", "sensor.>"]
        "#;
        Graph::of(&load_text(text).unwrap().settings, &catalog)
    }

    fn name(text: &str) -> EventName {
        EventName::new(text).unwrap()
    }

    fn names<'a>(events: impl Iterator<Item = &'a EventNode>) -> Vec<&'a str> {
        events.map(|event| event.name.as_str()).collect()
    }

    #[test]
    fn the_graph_holds_what_is_wired_and_no_more() {
        let graph = shop();

        let known = [
            "account.opened",
            "log.written",
            "order.checked",
            "order.paid",
            "order.refund_initiated",
            "order.refused",
            "order.submitted",
        ];
        assert_eq!(names(graph.events()), known);
        assert_eq!(names(graph.heard_by_nobody()), ["log.written", "order.refused"]);
        assert_eq!(names(graph.emitted_by_nobody()), ["account.opened", "order.submitted"]);
        let refund = graph.events().find(|event| event.name == "order.refund_initiated").unwrap();
        assert_eq!(
            (refund.heard_by.as_slice(), refund.emitted_by.as_slice()),
            (&["refund".to_owned()][..], &["pay".to_owned()][..])
        );
        let expected = Edge::Emits {
            subscription: "check".to_owned(),
            event: "order.checked".to_owned(),
            on: vec!["order.submitted".to_owned()],
        };
        assert!(graph.edges().contains(&expected), "{:?}", graph.edges());
    }

    #[test]
    fn what_a_delivery_may_still_reach_depends_on_the_event_it_handles() {
        let graph = shop();
        let cases: [(&str, &str, &[&str]); 6] = [
            ("check", "account.opened", &[]),
            ("check", "order.submitted", &["pay", "refund", "watch"]),
            ("pay", "order.checked", &["refund", "watch"]),
            ("refund", "order.refund_initiated", &[]),
            ("watch", "sensor.read", &[]),
            ("gone", "order.checked", &[]),
        ];
        for (subscription, event, expected) in cases {
            let reached = graph.reachable_from_delivery(subscription, &name(event));
            assert_eq!(reached.into_iter().collect::<Vec<_>>(), expected, "{subscription} on {event}");
        }
        assert_eq!(graph.reachable_from_event(&name("sensor.read")), BTreeSet::from(["watch"]));
        assert_eq!(
            graph.reachable_from_event(&name("order.checked")),
            BTreeSet::from(["pay", "refund", "watch"])
        );
    }

    #[test]
    fn a_cycle_ends_and_names_the_subscription_itself() {
        let catalog = Catalog {
            steps: vec![
                step("tick", &[("clock.ticked", &["clock.tocked"])]),
                step("tock", &[("clock.tocked", &["clock.ticked"])]),
            ],
        };
        let text = "[subscription.a]\nstep = \"tick\"\non = [\"clock.ticked\"]\n[subscription.b]\nstep = \"tock\"\non = [\"clock.tocked\"]";
        let graph = Graph::of(&load_text(text).unwrap().settings, &catalog);

        assert_eq!(graph.reachable_from_delivery("a", &name("clock.ticked")), BTreeSet::from(["a", "b"]));
    }
}
