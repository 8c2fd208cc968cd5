//! What verification says of a page of rows that is damaged: all that can still be told apart is named.

use std::collections::BTreeSet;

use super::tests::{OnDisk, stopped};
use super::*;
use crate::event::Timestamp;
use crate::store::sled::base::SledBase;
use crate::store::sled::recovery;
use crate::store::{SledStore, Store};

fn spoil(engine: &OnDisk, key: &[u8]) {
    let lock = recovery::lock(&engine.dir()).unwrap();
    let base = SledBase::open(&engine.dir().join("sled"), 8 << 20, lock).unwrap();
    base.spoil_page_of(key);
}

fn event_row(seq: u64) -> Vec<u8> {
    [&[0x20], seq.to_be_bytes().as_slice()].concat()
}

/// What the only damaged page comes to.
fn page(report: &VerifyReport) -> &Finding {
    let damaged = |one: &&Finding| one.problem.contains("does not match its checksum");
    let [finding] = &*report.findings.iter().filter(damaged).collect::<Vec<_>>() else {
        panic!("{report:#?}")
    };
    assert!(finding.meaning.starts_with("it was a page of rows of which the last was"), "{finding:#?}");
    finding
}

#[test]
fn all_events_of_a_damaged_page_are_named_up_to_a_bound_and_the_others_counted() {
    let engine = stopped(true);
    spoil(&engine, &event_row(3));

    let report = engine.verify().unwrap();

    let finding = page(&report);
    assert_eq!(finding.events_total, 300 - report.events, "each that cannot be read: {finding:#?}");
    assert!(finding.events_total > 50 && finding.events.len() == 50, "{finding:#?}");
    let (first, last) = (&finding.events[0], &finding.events[49]);
    assert_eq!((first.id.as_str(), last.id.as_str()), ("e1", "e50"));
    let known = crate::store::conformance::envelope("e1");
    assert_eq!((first.source.as_str(), first.flow.as_str()), ("/test", known.flow.as_str()));
    assert_eq!(first.name, known.name.to_string());
}

#[test]
fn all_flows_of_a_damaged_page_are_named() {
    let engine = stopped(true);
    // While it works: a start reads the page, and would tell it itself.
    let store = SledStore::open(engine.settings(), Timestamp(1_800_000_000_000)).unwrap();
    store.base.now().unwrap().spoil_page_of(&[0x3A]);

    let report = store.tools().unwrap().verify(&Progress::default()).unwrap();

    let finding = page(&report);
    let flows: BTreeSet<&str> = finding.events.iter().map(|event| event.flow.as_str()).collect();
    assert_eq!(finding.events_total, 300 - report.flows, "one event for each flow: {finding:#?}");
    assert!(finding.events_total > 5 && flows.len() == finding.events.len(), "{finding:#?}");
    assert!(
        finding.events.iter().any(|event| event.open == ["a"]),
        "and who has not settled them: {finding:#?}"
    );
}
