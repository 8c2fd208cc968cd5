use super::*;
use crate::bus::view::{DeliveryStatus, FlowStatus};

fn attempt(commit: u64, outcome: &str) -> AttemptView {
    AttemptView {
        commit,
        at: "t".into(),
        outcome: outcome.into(),
        error: None,
        waited_ms: 0,
        ran_ms: 1,
        states: None,
    }
}

fn event(commit: u64, id: &str, history: Vec<AttemptView>) -> FlowEventView {
    let delivery = DeliveryView {
        subscription: "pay".into(),
        state: DeliveryStatus::Ready,
        attempts: 1,
        error: None,
        due: None,
        progress: None,
        generation: 0,
        history,
        key: None,
        key_state: None,
    };
    FlowEventView {
        commit,
        id: id.into(),
        source: "/http".into(),
        name: "a.b".into(),
        causation: None,
        time: "t".into(),
        deliveries: vec![delivery],
        filtered: Vec::new(),
    }
}

fn flow(version: u64, status: FlowStatus, events: Vec<FlowEventView>) -> FlowView {
    FlowView {
        compensation: None,
        flow: "f1".into(),
        status,
        result: None,
        open: 1,
        dead: 0,
        events,
        pending: Vec::new(),
        version,
        deadline: None,
        overdue: false,
    }
}

fn progress(seen: u64) -> Progress {
    Progress { source: "/http".into(), id: "1".into(), name: "a.b".into(), seen, status: String::new() }
}

/// `id:`, `event:` of each message, for instance `7 attempt`.
fn outline(text: &str) -> Vec<String> {
    let field = |message: &str, name: &str| {
        message.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("-").to_owned()
    };
    let messages = text.split("\n\n").filter(|message| !message.is_empty());
    messages.map(|m| format!("{} {}", field(m, "id: "), field(m, "event: "))).collect()
}

fn two_events() -> FlowView {
    let first = event(3, "1", vec![attempt(5, "retry"), attempt(7, "done")]);
    flow(9, FlowStatus::Processing, vec![first, event(7, "2", vec![attempt(9, "done")])])
}

#[test]
fn messages_come_in_the_order_of_their_commits_with_the_id_on_the_last_of_each() {
    let text = progress(0).advance(&two_events());

    assert_eq!(outline(&text), ["3 event", "5 attempt", "- attempt", "7 event", "- attempt", "9 status"]);
}

#[test]
fn a_client_that_comes_back_gets_what_is_newer() {
    let text = progress(7).advance(&two_events());

    assert_eq!(outline(&text), ["- attempt", "9 status"]);
}

#[test]
fn nothing_is_sent_twice_and_a_status_only_when_it_differs() {
    let mut progress = progress(0);
    progress.advance(&two_events());

    let same = progress.advance(&two_events());
    let mut started = two_events();
    started.events[0].deliveries[0].state = DeliveryStatus::Inflight;
    let started = progress.advance(&started);

    assert_eq!(same, "");
    assert_eq!(outline(&started), ["9 status"]);
}

#[test]
fn data_with_line_breaks_stays_one_message() {
    let mut view = two_events();
    view.result = Some(serde_json::value::RawValue::from_string("{\n\"a\":1\r\n}".into()).expect("JSON"));

    let text = progress(9).advance(&view);

    assert_eq!(outline(&text), ["9 status"]);
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let read: StatusView = serde_json::from_str(&data.join("\n")).expect("a status");
    assert_eq!(read.version, 9);
    assert!(!text.contains('\r'));
}
