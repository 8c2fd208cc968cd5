//! What is said of the bytes of a group, and of those that wait in memory for the next checkpoint.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::store::conformance::{dead, envelope, routed, settle};
use crate::store::{Outcome, Routed, SubscriptionId, SubscriptionSpec};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const A: SubscriptionId = SubscriptionId(1);
const HOUR: Duration = Duration::from_hours(1);

fn settings(path: &Path) -> StoreSettings {
    StoreSettings {
        path: path.to_owned(),
        cache_bytes: 8 << 20,
        status_ttl: HOUR,
        dedupe_window: HOUR,
        checkpoint_bytes: 1 << 30,
        checkpoint_interval: 1_000_000 * HOUR,
        ..StoreSettings::default()
    }
}

fn is_right(store: &SledStore, what: &str) {
    let (said, counted) = store.shared.view().unwrap().weights();
    assert_eq!(said, counted, "{what}");
}

#[test]
fn the_bytes_that_wait_for_a_checkpoint_are_counted_right_as_rows_come_change_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SledStore::open(settings(folder.path()), NOW).unwrap();
    let (name, step, on) = ("a".to_owned(), "s".to_owned(), vec![">".to_owned()]);
    let filter = crate::event::Filter::default();
    store
        .stage(NOW, &mut vec![Change::Subscribe(SubscriptionSpec { name, step, on, since: None, filter })])
        .unwrap();
    let publish_and_settle = |store: &mut SledStore, numbers: std::ops::RangeInclusive<u64>| {
        for n in numbers {
            // Two events of each flow.
            let id = format!("e{}-{n}", n / 2);
            let mut event = envelope(&id);
            if n % 4 < 2 {
                // As a derived one.
                event.flow = format!("{:032x}", n / 2);
            }
            let event = Routed::new(event.into(), vec![A]);
            store.stage(NOW, &mut vec![Change::Publish(vec![event])]).unwrap();
            is_right(store, &format!("{n} published"));
            let outcome = if n % 7 == 0 { dead(false) } else { Outcome::Done };
            store.stage(NOW, &mut vec![Change::Settle(settle(A, n, Seq(n), outcome))]).unwrap();
            is_right(store, &format!("{n} settled"));
        }
        store.sync().unwrap();
    };

    publish_and_settle(&mut store, 1..=150);
    store.checkpoint().unwrap();
    is_right(&store, "a checkpoint runs");
    publish_and_settle(&mut store, 151..=200);
    store.end_fold(NOW, true).unwrap();
    is_right(&store, "it has ended");
    // What is folded goes row by row, what is not without a trace.
    while store.maintain(NOW.plus(3 * HOUR)).unwrap() {
        is_right(&store, "some has expired");
    }

    assert!(store.reader().event(Seq(199)).unwrap().is_none(), "all that is done has expired");
}

#[test]
fn the_bytes_of_a_group_are_its_own_whatever_was_in_the_buffer_before() {
    let fresh = encode(NOW, &[], Vec::new()).unwrap();

    let again = encode(NOW, &[], b"the group before, which was longer than this".to_vec()).unwrap();

    assert_eq!(again, fresh);
}

#[test]
fn a_checkpoint_is_due_as_soon_as_enough_waits_for_it_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let settings = StoreSettings { checkpoint_bytes: 50_000, ..settings(folder.path()) };
    let mut store = SledStore::open(settings, NOW).unwrap();
    let mut number = 0;
    let mut fill = |store: &mut SledStore| {
        while store.shared.view().unwrap().active_bytes() < 50_000 {
            assert!(!store.is_upkeep_due(), "at event {number}");
            number += 1;
            store.stage(NOW, &mut vec![Change::Publish(vec![routed(&format!("e{number}"), &[A])])]).unwrap();
        }
        store.sync().unwrap();
    };

    fill(&mut store);
    assert!(store.is_upkeep_due());
    store.maintain(NOW).unwrap();
    assert!(store.fold.is_some() && !store.is_upkeep_due());
    // The next one is due when this one has ended.
    store.end_fold(NOW, true).unwrap();
    fill(&mut store);
    assert!(store.is_upkeep_due());
}
