//! What decoded rows promise: the newest counts, and what is gone where nothing lies below leaves nothing behind.

use std::path::{Path, PathBuf};

use super::dedupe::Seen;
use super::*;
use crate::event::{EventName, Fingerprint, Identity, Label};
use crate::store::rows::tests::Folded;
use crate::store::{EventRecord, Novelty};

fn view(rows: Rows) -> View {
    View::load(rows, &StoreSettings::default(), PathBuf::new()).unwrap()
}

/// The bookkeeping of event 1 in this flow.
fn row(flow: &str) -> EventRow {
    let at = Timestamp(1_800_000_000_000);
    let label = Label {
        id: "e1".to_owned(),
        source: "/test".to_owned(),
        name: EventName::new("a.b").unwrap(),
        time: at,
        key: String::new(),
        flow: flow.to_owned(),
        causation: None,
    };
    let record = EventRecord {
        seq: Seq(1),
        commit: Commit(1),
        label: Arc::new(label),
        acknowledged: at,
        deliveries: crate::store::Deliveries::new(),
        filtered: Vec::new(),
    };
    EventRow { record, due: None, effects: Vec::new(), more: EventMore::default() }
}

/// A view that lies on rows with event 1, of the flow "folded".
fn folded() -> View {
    let mut first = view(Rows::default());
    first.put_event(Seq(1), row("folded"));
    let rows = Folded::default();
    let frozen = first.freeze().unwrap();
    frozen
        .each(Path::new(""), None, &mut |key, value, _is_new| {
            rows.fold(key, value);
            Ok(())
        })
        .unwrap();
    view(Rows::over(Arc::new(rows)))
}

fn read(view: &mut View) -> Option<String> {
    view.read_event(Seq(1)).unwrap().map(|row| row.record.flow.clone())
}

fn take(view: &mut View) -> Option<String> {
    view.take_event(Seq(1)).unwrap().map(|row| row.record.flow.clone())
}

#[test]
fn an_event_that_was_read_and_then_written_is_read_and_taken_as_it_was_written() {
    let mut view = folded();
    assert_eq!(read(&mut view).as_deref(), Some("folded"));

    view.put_event(Seq(1), row("written"));

    assert_eq!(read(&mut view).as_deref(), Some("written"));
    assert_eq!(take(&mut view).as_deref(), Some("written"));
}

#[test]
fn an_event_that_was_read_and_then_deleted_is_neither_read_nor_taken() {
    let mut view = folded();
    assert_eq!(read(&mut view).as_deref(), Some("folded"));

    view.delete_event(Seq(1));

    assert_eq!(read(&mut view), None);
    assert_eq!(take(&mut view), None);
}

#[test]
fn what_is_deleted_where_nothing_lies_below_is_gone_and_weighs_nothing() {
    let mut view = view(Rows::default());
    let identity = Identity::of("/test", "e1");
    view.put_event(Seq(1), row("f"));
    view.put_id(1, identity, Seen { seq: Seq(1), fingerprint: Fingerprint([0; 16]) });
    assert!(view.weights().0 > 0);

    view.delete_event(Seq(1));
    view.delete_id(1, identity);

    assert!(view.event_row(Seq(1)).unwrap().is_none() && view.id_in(1, identity).unwrap().is_none());
    assert!(view.hot.events.is_empty() && view.hot.ids.is_empty(), "no mark is left of them");
    assert_eq!(view.weights(), (0, 0));
}

#[test]
fn the_bytes_of_short_lists_never_change() {
    let mut view = view(Rows::default());
    for seq in 1..=3_u8 {
        view.add_to_flow("f", Seq(seq.into()), 0, None, Novelty::None).unwrap();
        let head = view.flow_head("f").unwrap().unwrap();
        // No full chunk, and the events of the one that is not.
        let tail: Vec<u8> = (1..=seq).collect();
        let written = grown::encode(&head, Vec::new()).unwrap();
        assert_eq!(written[..3 + tail.len()], [&[0, 0, seq][..], &tail].concat());
        assert_eq!(grown::decode::<flow::FlowHead>(&written).unwrap().tail(), head.tail());
    }
    let delivery = |n| apply::fresh_delivery(SubscriptionId(n), Some(crate::store::Ordinal(7)), None);
    for count in 0..3 {
        let list: Vec<_> = (0..count).map(delivery).collect();
        let written = postcard::to_stdvec(&crate::store::Deliveries::from(list.clone())).unwrap();
        assert_eq!(written, postcard::to_stdvec(&list).unwrap());
    }
}
