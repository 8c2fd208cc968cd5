//! Promise: a person finds flows and events by what he knows of them (a business key, an event name, a time,
//! where a flow stands), and a list says of a flow what its own page says.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::collections::BTreeSet;
use std::time::Duration;

use kit::{job, wired, work};
use tidegate::bus::view::{FlowStatus, Page};
use tidegate::bus::{Bus, EventFilter, EventSummary, FlowFilter, FlowSelection, FlowSummary, QueryError};
use tidegate::event::{Draft, EventName, Timestamp};
use tidegate::prelude::*;
use tidegate::testing::Harness;

/// The harness drives the bus; this asks it from outside, as the door does.
fn ask<T>(question: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(question)
}

fn flows(bus: &Bus, filter: &FlowFilter, page: usize) -> Vec<FlowSummary> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let Page { items, next } = ask(bus.search_flows(filter.clone(), cursor, page)).unwrap();
        assert!(items.len() <= page);
        all.extend(items);
        cursor = next;
        if cursor.is_none() {
            return all;
        }
    }
}

fn events(bus: &Bus, filter: &EventFilter, page: usize) -> Vec<EventSummary> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let Page { items, next } = ask(bus.search_events(filter.clone(), cursor, page)).unwrap();
        assert!(items.len() <= page);
        all.extend(items);
        cursor = next;
        if cursor.is_none() {
            return all;
        }
    }
}

const MORE: &str = "retry = { max_attempts = 2, backoff = { first = \"1m\", jitter = 0.0 } }";

/// Jobs 1 to 4: done, dead, waiting for its retry, parked behind the dead one; 5 comes later, unhandled.
fn five_jobs() -> Harness {
    let (steps, _) = work(|job, _| match job.n {
        2 => Err(StepError::fatal("broken", "cannot be done")),
        3 => Err(StepError::retry("not yet")),
        4 => Err(StepError::retry("is never reached")),
        _ => Ok(()),
    });
    let mut h = Harness::new(steps, &wired(MORE));
    for (n, key) in [(1, "a"), (2, "b"), (3, "c"), (4, "b")] {
        h.publish_as(&format!("job-{n}"), "job.given", job(n, key));
        h.run_until_idle();
        h.clock().advance(Duration::from_secs(1));
    }
    h
}

#[test]
fn a_list_says_of_a_flow_what_its_own_page_says() {
    let h = five_jobs();

    let all = flows(h.bus(), &FlowFilter::default(), 2);

    let found: Vec<_> = all.iter().map(|flow| flow.first.id.as_str()).collect();
    assert_eq!(found, ["job-4", "job-3", "job-2", "job-1"], "the one that began last first");
    for found in &all {
        let page = ask(h.bus().flow(&found.flow)).unwrap();
        assert_eq!((found.status, found.open, found.dead), (page.status, page.open, page.dead));
        assert_eq!((found.version, found.events), (page.version, page.events.len() as u64));
        assert_eq!(found.first.id, page.events[0].id);
    }
    let statuses: Vec<_> = all.iter().map(|flow| flow.status).collect();
    let expected = [FlowStatus::Failed, FlowStatus::Processing, FlowStatus::Failed, FlowStatus::Done];
    assert_eq!(statuses, expected, "a flow parked behind another's dead letter has failed, too");
    assert_eq!((all[0].first.name.as_str(), all[0].first.key.as_str()), ("job.given", "b"));
}

#[test]
fn every_word_for_where_a_flow_stands_finds_those_and_no_others() {
    let h = five_jobs();
    let all = flows(h.bus(), &FlowFilter::default(), 50);
    let ids = |flows: Vec<FlowSummary>| flows.into_iter().map(|flow| flow.first.id).collect::<Vec<_>>();

    for word in FlowSelection::WORDS {
        let selection = FlowSelection::of(word).unwrap();
        let stands = |flow: &&FlowSummary| match selection {
            FlowSelection::Status(status) => flow.status == status,
            FlowSelection::Open => flow.open > 0,
            FlowSelection::Rest => flow.open == 0,
            FlowSelection::Dead => flow.dead > 0,
        };
        let expected = ids(all.iter().filter(stands).cloned().collect());
        for page in [1, 50] {
            let filter = FlowFilter { status: Some(selection), ..FlowFilter::default() };
            assert_eq!(ids(flows(h.bus(), &filter, page)), expected, "{word}");
        }
        let filter =
            FlowFilter { status: Some(selection), key: Some("b".to_owned()), ..FlowFilter::default() };
        let of_key: Vec<_> =
            expected.iter().filter(|id| ["job-2", "job-4"].contains(&id.as_str())).cloned().collect();
        assert_eq!(ids(flows(h.bus(), &filter, 1)), of_key, "{word}");
    }
    assert_eq!(FlowSelection::of("lost"), None);
}

#[test]
fn a_flow_with_a_result_is_done_for_the_list_also_while_it_goes_on() {
    let (steps, _) = work(|_, cx| cx.resolve("early"));
    let mut h = Harness::new(steps, &wired(""));
    let accepted = h.publish_as("o1", "job.given", job(1, "a"));
    h.run_until_idle();
    // A late event of the same flow that nobody has handled yet.
    h.pause("work", true);
    let draft = Draft::json(EventName::new("job.given").unwrap(), job(2, "a").to_string().into());
    h.publish_draft(Draft { flow: Some(accepted.flow.clone()), ..draft });

    let with = |status| FlowFilter { status: FlowSelection::of(status), ..FlowFilter::default() };
    let has = |status| flows(h.bus(), &with(status), 10).iter().any(|flow| flow.flow == accepted.flow);

    assert!(has("done") && has("open"));
    assert!(!has("processing") && !has("accepted") && !has("failed") && !has("rest"));
}

#[test]
fn events_are_found_by_key_name_flow_and_time() {
    let mut h = five_jobs();
    let noon = h.clock().now();
    h.clock().advance(Duration::from_secs(5));
    let accepted = h.publish_as("job-5", "job.given", job(5, "a"));
    h.run_until_idle();
    let by = EventFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let ids = |filter: EventFilter| -> Vec<String> {
        events(h.bus(), &filter, 2).into_iter().map(|event| event.id).collect()
    };

    let given = ids(EventFilter { name: text("job.given"), ..by() });
    assert_eq!(given, ["job-5", "job-4", "job-3", "job-2", "job-1"]);
    assert_eq!(ids(EventFilter { name: text("job.given"), key: text("b"), ..by() }), ["job-4", "job-2"]);
    let told = events(h.bus(), &EventFilter { name: text("job.told"), ..by() }, 50);
    assert_eq!(
        told.iter().map(|event| event.causation.as_deref()).collect::<Vec<_>>(),
        [Some("job-5"), Some("job-1")]
    );
    let of_flow = events(h.bus(), &EventFilter { flow: Some(accepted.flow.clone()), ..by() }, 50);
    assert_eq!(
        of_flow.iter().map(|event| event.name.as_str()).collect::<Vec<_>>(),
        ["job.told", "job.given"]
    );
    assert_eq!(of_flow[1].deliveries[0].subscription, "work");
    assert_eq!(ids(EventFilter { since: Some(noon), name: text("job.given"), ..by() }), ["job-5"]);
    let before: BTreeSet<_> =
        ids(EventFilter { until: Some(noon), name: text("job.given"), ..by() }).into_iter().collect();
    assert_eq!(before.len(), 4);
    assert_eq!(ids(EventFilter { since: Some(Timestamp(noon.0 + 3_600_000)), ..by() }), [""; 0]);
    assert_eq!(ids(EventFilter { key: text("nobody"), ..by() }), [""; 0]);
}

#[test]
fn an_emitted_event_leads_to_the_flow_by_its_name_too() {
    let h = five_jobs();

    let filter = FlowFilter { name: Some("job.told".to_owned()), ..FlowFilter::default() };
    let found = flows(h.bus(), &filter, 50);

    assert_eq!(found.iter().map(|flow| flow.first.id.as_str()).collect::<Vec<_>>(), ["job-1"]);
}

#[test]
fn a_cursor_of_another_list_is_refused() {
    let h = five_jobs();

    let refused = ask(h.bus().search_flows(FlowFilter::default(), Some("pay-7".to_owned()), 5));

    assert!(matches!(refused, Err(QueryError::BadCursor { .. })));
}

#[test]
fn a_flow_shows_the_state_of_its_keys_when_asked() {
    let h = five_jobs();
    let filter = FlowFilter { key: Some("a".to_owned()), ..FlowFilter::default() };
    let flow = flows(h.bus(), &filter, 1)[0].flow.clone();

    let plain = ask(h.bus().flow(&flow)).unwrap();
    let with_state = ask(h.bus().flow_with_state(&flow)).unwrap();

    assert!(plain.events[0].deliveries[0].key_state.is_none());
    let delivery = &with_state.events[0].deliveries[0];
    assert_eq!(delivery.key.as_deref(), Some("a"));
    assert_eq!(delivery.key_state.as_ref().unwrap().get(), r#"{"count":1,"sum":1}"#);
}
