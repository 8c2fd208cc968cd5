//! Drawings of the graph: Mermaid for pages, DOT for Graphviz, JSON for programs.
//!
//! Nodes are numbered, and names stand in labels only, so that no name can break a drawing.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::graph::{Edge, EventNode, Graph, SubscriptionNode};

impl Graph {
    /// A Mermaid flowchart: events round, subscriptions square, `on_dead` dotted.
    pub fn to_mermaid(&self) -> String {
        let ids = Ids::of(self);
        let mut out = String::from("flowchart LR\n");
        for event in self.events() {
            let class = class(event).map(|class| format!(":::{class}")).unwrap_or_default();
            line(&mut out, format_args!("{}([\"{}\"]){class}", ids.event(&event.name), mermaid(&event.name)));
        }
        for node in self.subscriptions() {
            line(&mut out, format_args!("{}[\"{}\"]", ids.subscription(&node.name), mermaid(&label(node))));
        }
        for edge in self.edges() {
            let (from, to) = ids.ends(edge);
            match edge {
                Edge::Hears { .. } | Edge::Emits { .. } => line(&mut out, format_args!("{from} --> {to}")),
                Edge::OnDead { .. } => line(&mut out, format_args!("{from} -. on dead .-> {to}")),
                Edge::Undoes { .. } => line(&mut out, format_args!("{from} -. undone by .-> {to}")),
            }
        }
        line(&mut out, format_args!("classDef outside stroke-width:3px"));
        line(&mut out, format_args!("classDef unheard stroke-dasharray:4 4"));
        out
    }

    /// A DOT digraph for Graphviz: events round, subscriptions square, `on_dead` dashed.
    pub fn to_dot(&self) -> String {
        let ids = Ids::of(self);
        let mut out = String::from("digraph tidegate {\n  rankdir=LR;\n");
        for event in self.events() {
            let style = match class(event) {
                Some("outside") => ", penwidth=2",
                Some(_) => ", style=dashed",
                None => "",
            };
            let (id, label) = (ids.event(&event.name), dot(&event.name));
            line(&mut out, format_args!("{id} [label=\"{label}\", shape=ellipse{style}];"));
        }
        for node in self.subscriptions() {
            let (id, label) = (ids.subscription(&node.name), dot(&label(node)));
            line(&mut out, format_args!("{id} [label=\"{label}\", shape=box];"));
        }
        for edge in self.edges() {
            let (from, to) = ids.ends(edge);
            match edge {
                Edge::Hears { .. } | Edge::Emits { .. } => line(&mut out, format_args!("{from} -> {to};")),
                Edge::OnDead { .. } => {
                    line(&mut out, format_args!("{from} -> {to} [style=dashed, label=\"on dead\"];"));
                }
                Edge::Undoes { .. } => {
                    line(&mut out, format_args!("{from} -> {to} [style=dotted, label=\"undone by\"];"));
                }
            }
        }
        out.push_str("}\n");
        out
    }

    /// JSON: `events`, `subscriptions` and `edges` as lists, sorted by name.
    ///
    /// An edge has a `kind`: `hears`, `emits`, `undoes` or `on_dead`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "events": self.events().collect::<Vec<_>>(),
            "subscriptions": self.subscriptions().collect::<Vec<_>>(),
            "edges": self.edges(),
        })
    }
}

/// Short ids of the nodes: `e0`, `s0` and so on, in the order of names.
struct Ids<'a> {
    events: BTreeMap<&'a str, usize>,
    subscriptions: BTreeMap<&'a str, usize>,
}

impl<'a> Ids<'a> {
    fn of(graph: &'a Graph) -> Self {
        Self {
            events: graph.events().map(|event| event.name.as_str()).zip(0..).collect(),
            subscriptions: graph.subscriptions().map(|node| node.name.as_str()).zip(0..).collect(),
        }
    }

    fn event(&self, name: &str) -> String {
        format!("e{}", self.events.get(name).copied().unwrap_or_default())
    }

    fn subscription(&self, name: &str) -> String {
        format!("s{}", self.subscriptions.get(name).copied().unwrap_or_default())
    }

    fn ends(&self, edge: &Edge) -> (String, String) {
        match edge {
            Edge::Hears { event, subscription, .. } => (self.event(event), self.subscription(subscription)),
            Edge::Emits { subscription, event, .. }
            | Edge::Undoes { subscription, event }
            | Edge::OnDead { subscription, event } => (self.subscription(subscription), self.event(event)),
        }
    }
}

/// What sets an event apart: it comes from outside only, or nobody hears it.
fn class(event: &EventNode) -> Option<&'static str> {
    if event.heard_by.is_empty() {
        Some("unheard")
    } else if event.emitted_by.is_empty() {
        Some("outside")
    } else {
        None
    }
}

/// A subscription's name, and its step's when that differs.
fn label(node: &SubscriptionNode) -> String {
    if node.name == node.step { node.name.clone() } else { format!("{} ({})", node.name, node.step) }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    #[expect(clippy::let_underscore_must_use, reason = "writing to a String cannot fail")]
    let _ = writeln!(out, "  {text}");
}

/// A text inside a quoted Mermaid label: everything with a meaning there becomes an entity.
fn mermaid(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_alphanumeric() || " ._-()".contains(c) {
            out.push(c);
        } else {
            out.extend(["#", &u32::from(c).to_string(), ";"]);
        }
    }
    out
}

/// A text inside a quoted DOT string.
fn dot(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::super::graph::tests::shop;
    use super::*;

    #[test]
    fn mermaid_has_every_node_and_edge() {
        let text = shop().to_mermaid();

        assert!(text.starts_with("flowchart LR\n"), "{text}");
        for part in [
            "e0([\"account.opened\"]):::outside",
            "e5([\"order.refused\"]):::unheard",
            "s3[\"watch (audit)\"]",
            "e6 --> s0",
            "s0 --> e2",
            "s1 -. on dead .-> e4",
        ] {
            assert!(text.lines().any(|line| line.trim() == part), "{part} is not in\n{text}");
        }
        assert_eq!(text, shop().to_mermaid());
    }

    #[test]
    fn dot_has_every_node_and_edge() {
        let text = shop().to_dot();

        assert!(text.starts_with("digraph tidegate {") && text.ends_with("}\n"), "{text}");
        for part in [
            "e0 [label=\"account.opened\", shape=ellipse, penwidth=2];",
            "s3 [label=\"watch (audit)\", shape=box];",
            "e6 -> s0;",
            "s1 -> e4 [style=dashed, label=\"on dead\"];",
        ] {
            assert!(text.lines().any(|line| line.trim() == part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn json_lists_nodes_and_edges() {
        let json = shop().to_json();

        assert_eq!(json["events"][0]["name"], "account.opened");
        assert_eq!(json["events"][0]["heard_by"][0], "check");
        assert_eq!(json["subscriptions"][3]["step"], "audit");
        assert_eq!(json["subscriptions"][3]["on"][1], "sensor.>");
        let kinds: Vec<_> = json["edges"].as_array().unwrap().iter().map(|edge| &edge["kind"]).collect();
        assert!(kinds.iter().any(|kind| **kind == "on_dead") && kinds.len() == 10, "{kinds:?}");
    }

    #[test]
    fn no_name_can_break_a_drawing() {
        assert_eq!(mermaid("a\"];x<b>&#\n`"), "a#34;#93;#59;x#60;b#62;#38;#35;#10;#96;");
        assert_eq!(dot("a\"b\\c\nd"), "a\\\"b\\\\c d");
    }
}
