//! Looking at what has happened.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Harness;
use crate::bus::view::{DeadLetterFilter, DeadLetterView, DeliveryStatus, FlowStatus, FlowView, StatusView};
use crate::bus::{Operator, QueryError, RepairRequest, When};
use crate::event::Envelope;
use crate::store::Seq;

impl Harness {
    /// Every event of this name, in the order of acknowledgement.
    pub fn events(&self, name: &str) -> Vec<Arc<Envelope>> {
        let reader = self.bus().reader();
        let all = (1..).map(|seq| reader.envelope(Seq(seq))).map_while(|read| read.ok().flatten());
        all.filter(|event| event.name.as_str() == name).collect()
    }

    /// The data of every event of this name, in the order of acknowledgement.
    ///
    /// # Panics
    /// When one is not what `T` says.
    pub fn emitted<T: DeserializeOwned>(&self, name: &str) -> Vec<T> {
        let decode = |event: Arc<Envelope>| serde_json::from_slice(&event.data);
        let decoded: Result<Vec<T>, _> = self.events(name).into_iter().map(decode).collect();
        decoded.unwrap_or_else(|error| panic!("an event {name} is not what the test expects: {error}"))
    }

    /// Asserts that an event of this name is there, and gives its data.
    ///
    /// # Panics
    /// When there is none; every flow's timeline is printed.
    #[track_caller]
    pub fn assert_emitted(&self, name: &str) -> Value {
        let found = self.emitted::<Value>(name).into_iter().next();
        found.unwrap_or_else(|| panic!("no event {name} was emitted\n{}", self.timelines()))
    }

    /// Asserts that no event of this name is there.
    ///
    /// # Panics
    /// When there is one; every flow's timeline is printed.
    #[track_caller]
    pub fn assert_not_emitted(&self, name: &str) {
        assert!(self.events(name).is_empty(), "an event {name} was emitted\n{}", self.timelines());
    }

    /// Where the flow of an event published by this test stands.
    ///
    /// # Panics
    /// When the event is unknown.
    #[track_caller]
    pub fn status(&self, source: &str, id: &str) -> StatusView {
        self.wait(self.bus().status(source, id)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A flow with everything that happened in it.
    ///
    /// # Panics
    /// When it is unknown.
    #[track_caller]
    pub fn flow(&self, flow: &str) -> FlowView {
        self.wait(self.bus().flow(flow)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Asserts where a flow stands.
    ///
    /// # Panics
    /// When it stands elsewhere; its timeline is printed.
    #[track_caller]
    pub fn assert_flow(&self, flow: &str, status: FlowStatus) {
        let found = self.flow(flow);
        assert_eq!(found.status, status, "\n{}{}", timeline(&found), self.explanations(&found));
    }

    /// The state of a key of a subscription; `null` when it has none.
    pub fn state(&self, subscription: &str, key: &str) -> Value {
        let state = self.wait(self.bus().state(subscription, key)).ok();
        state.and_then(|state| serde_json::from_str(state.get()).ok()).unwrap_or(Value::Null)
    }

    /// All dead letters.
    ///
    /// # Panics
    /// When they cannot be read.
    pub fn dead_letters(&self) -> Vec<DeadLetterView> {
        let page = self.wait(self.bus().dead_letters(DeadLetterFilter::default(), None, usize::MAX));
        page.unwrap_or_else(|error| panic!("{error}")).items
    }

    /// Retries a dead letter.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn retry(&mut self, dead_letter: &str) {
        let again = RepairRequest::Retry { when: When::Now, force: false };
        let done = self.wait(self.bus().repair(dead_letter, again, says_so()));
        done.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Skips a dead letter.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn skip(&mut self, dead_letter: &str) {
        let done = self.wait(self.bus().repair(dead_letter, RepairRequest::Skip, says_so()));
        done.unwrap_or_else(|error| panic!("{error}"));
    }

    /// All metrics as Prometheus text, as they are now.
    pub fn metrics(&self) -> String {
        self.running().metrics()()
    }

    /// The value of a metric now, as the metrics page has it; `name` with the labels, if it has any.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let page = self.running().metrics()();
        page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Has a flow undone.
    ///
    /// # Panics
    /// When it cannot be.
    #[track_caller]
    pub fn cancel(&mut self, flow: &str) {
        self.try_cancel(flow).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Has a flow undone and tells what the bus says.
    ///
    /// # Errors
    /// What the bus refuses with.
    pub fn try_cancel(&mut self, flow: &str) -> Result<FlowStatus, QueryError> {
        self.wait(self.bus().cancel_flow(flow, says_so()))
    }

    /// The timelines of all flows, for messages.
    pub fn timelines(&self) -> String {
        let reader = self.bus().reader();
        let mut flows = Vec::new();
        for event in (1..).map(|seq| reader.event(Seq(seq))).map_while(|read| read.ok().flatten()) {
            if !flows.contains(&event.flow) {
                flows.push(event.flow.clone());
            }
        }
        let views = flows.iter().filter_map(|flow| self.wait(self.bus().flow(flow)).ok());
        views.map(|view| timeline(&view) + &self.explanations(&view)).collect::<Vec<_>>().join("\n")
    }

    /// Why what is open of a flow does not move.
    fn explanations(&self, flow: &FlowView) -> String {
        let is_through = |state| matches!(state, DeliveryStatus::Done | DeliveryStatus::Skipped);
        let open = flow.events.iter().filter(|event| event.deliveries.iter().any(|d| !is_through(d.state)));
        let views = open.filter_map(|event| self.wait(self.bus().explain(&event.source, &event.id)).ok());
        views.fold(String::new(), |mut text, view| {
            let _infallible = writeln!(text, "  {} {}: {}", view.name, view.id, view.sentence);
            text
        })
    }
}

fn says_so() -> Operator {
    Operator { by: "test".to_owned(), reason: "the test says so".to_owned() }
}

/// A flow as text: each event with its deliveries and their attempts.
fn timeline(flow: &FlowView) -> String {
    let mut text = format!("flow {} {:?}, open {}, dead {}\n", flow.flow, flow.status, flow.open, flow.dead);
    for event in &flow.events {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "  {} {}", event.name, event.id);
        for delivery in &event.deliveries {
            let error = delivery.error.as_deref().unwrap_or_default();
            let (name, state, attempts) = (&delivery.subscription, delivery.state, delivery.attempts);
            let _infallible = writeln!(text, "    {name}: {state:?}, attempts {attempts} {error}");
        }
    }
    text
}
