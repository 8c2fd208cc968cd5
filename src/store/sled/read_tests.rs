//! What is read from sled once.

use super::tests::{OnDisk, closed, open};
use super::*;
use crate::store::conformance::{envelope, routed, settle};
use crate::store::{AtHand, Lookup, Outcome, SubscriptionId};

const A: SubscriptionId = SubscriptionId(1);
/// The tables of `store/view/keys/mod.rs`.
const EVENT: u8 = 0x20;
const FLOW: u8 = 0x3A;
const FLOW_NAME: u8 = 0x3C;

/// A store that has just been opened: its 300 events, of which the first ten are done, are in sled.
fn folded() -> (SledStore, OnDisk) {
    let mut engine = OnDisk::new(32 << 20, 64 << 10);
    closed(&mut engine);
    (open(&engine).unwrap(), engine)
}

fn stage(store: &mut SledStore, change: Change) -> Receipt {
    let receipts = store.stage(Timestamp(1_800_000_000_000), &mut vec![change]).unwrap();
    receipts.into_iter().next().unwrap()
}

#[test]
fn a_settle_looks_for_a_folded_event_once_and_for_its_flow_once() {
    let (mut store, _engine) = folded();
    store.base.now().unwrap().looked_in();

    let receipt = stage(&mut store, Change::Settle(settle(A, 11, Seq(11), Outcome::Done)));

    assert!(matches!(receipt, Receipt::Applied { .. }), "{receipt:?}");
    let mut looked_in = store.base.now().unwrap().looked_in();
    looked_in.retain(|table| [EVENT, FLOW, FLOW_NAME].contains(table));
    assert_eq!(looked_in, [EVENT, FLOW]);
}

#[test]
fn a_folded_status_that_was_read_is_at_hand_until_its_flow_moves_and_never_as_it_was_before() {
    let (mut store, _engine) = folded();
    let now = Timestamp(1_800_000_000_000);
    let (reader, identity) = (store.reader(), envelope("e11").identity());
    let open = |found: Option<Arc<AtHand>>| found.map(|found| found.flow.open);
    assert_eq!(open(reader.at_hand(identity)), None, "nobody has read it");

    assert_eq!(open(reader.stands(identity).unwrap()), Some(1));
    store.base.now().unwrap().looked_in();
    assert_eq!(open(reader.at_hand(identity)), Some(1));
    assert_eq!(store.base.now().unwrap().looked_in(), [0_u8; 0], "nothing is looked for");

    stage(&mut store, Change::Settle(settle(A, 11, Seq(11), Outcome::Done)));
    assert_eq!(open(reader.at_hand(identity)), None, "not on disk yet");
    store.sync().unwrap();
    assert_eq!(open(reader.at_hand(identity)), Some(0));
    store.fold_all(now).unwrap();
    assert_eq!(open(reader.at_hand(identity)), None, "nobody has read it since it was folded");
    assert_eq!(open(reader.stands(identity).unwrap()), Some(0));
    assert_eq!(open(reader.at_hand(identity)), Some(0));
}

#[test]
fn what_was_polled_goes_with_its_id() {
    let engine = OnDisk::new(32 << 20, 64 << 10);
    let now = Timestamp(1_800_000_000_000);
    let settings = StoreSettings { dedupe_max_bytes: 20 * 64, ..StoreSettings::default() };
    let mut store = SledStore::open(engine.settings(&settings), now).unwrap();
    let (reader, identity) = (store.reader(), envelope("e1").identity());
    stage(&mut store, Change::Publish(vec![routed("e1", &[])]));
    store.fold_all(now).unwrap();
    assert!(reader.stands(identity).unwrap().is_some());
    assert!(reader.at_hand(identity).is_some());

    for n in 2..100 {
        stage(&mut store, Change::Publish(vec![routed(&format!("e{n}"), &[])]));
        while store.maintain(now).unwrap() {}
    }
    store.sync().unwrap();

    assert_eq!(reader.find(identity).unwrap(), Lookup::Unknown, "there are more ids than may be remembered");
    assert!(reader.event(Seq(1)).unwrap().is_some(), "its status is there");
    assert!(reader.at_hand(identity).is_none());
}
