//! Promises about dead letters and what a person does with them.

use std::time::Duration;

use bytes::Bytes;

use super::Engine;
use super::kit::{World, dead, retry, routed, settle};
use crate::store::{
    Change, DeadReason, DeliveryState, Ordinal, Outcome, PendingState, Receipt, RepairAct, Seq,
};

/// A dead letter is open, counted and listed.
pub fn a_dead_letter_is_open_counted_and_listed(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let seq = world.publish("e1", &[a]);
    world.settle(settle(a, 1, seq, retry(world.now)));
    world.pass(Duration::from_secs(1));

    world.settle(settle(a, 1, seq, dead(true)));

    let flow = world.reader().flow("flow-e1").unwrap().unwrap();
    assert_eq!((flow.open, flow.dead, flow.rest_since), (1, 1, None));
    let letter = world.reader().dead_letter(a, seq).unwrap().unwrap();
    assert_eq!((letter.ordinal, letter.attempts, letter.since), (Ordinal(1), 2, world.now));
    assert_eq!(
        (letter.reason, letter.error.as_str(), letter.key.as_str()),
        (DeadReason::Attempts, "gave up", "k")
    );
    assert!(letter.parks);
    assert_eq!(letter.event.deliveries[0].history.len(), 2);
    assert_eq!(letter.event.deliveries[0].state, DeliveryState::Dead { reason: DeadReason::Attempts });
    let record = world.reader().subscriptions().unwrap().remove(0);
    assert_eq!((record.backlog, record.dead, record.oldest), (0, 1, None));
    assert_eq!(world.queue(a), [0; 0]);
    let pending = world.reader().pending(a, Ordinal(0), 9).unwrap().remove(0);
    assert_eq!(pending.state, PendingState::Dead { parks: true });
    assert!(world.reader().delivery(a, Ordinal(1)).unwrap().is_some());
    let again = world.apply(Change::Settle(settle(a, 1, seq, Outcome::Done)));
    assert!(matches!(again, Receipt::Stale), "only a person moves a dead letter");
    world.finish();
}

/// Dead letters page over all subscriptions, or over one.
pub fn dead_letters_page_over_all_subscriptions(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let (a, b) = (world.subscribe("a"), world.subscribe("b"));
    world.publish_all((1..=4).map(|n| routed(&format!("e{n}"), &[a, b])).collect());
    for ordinal in [1, 3, 4] {
        world.settle(settle(a, ordinal, Seq(ordinal), dead(false)));
        world.settle(settle(b, ordinal, Seq(ordinal), dead(false)));
    }

    let list = |subscription, after, limit| {
        let letters = world.reader().dead_letters(subscription, after, limit).unwrap();
        letters.iter().map(|letter| (letter.subscription, letter.seq.0)).collect::<Vec<_>>()
    };
    assert_eq!(list(None, None, 4), [(a, 1), (a, 3), (a, 4), (b, 1)]);
    assert_eq!(list(None, Some((a, Seq(4))), 9), [(b, 1), (b, 3), (b, 4)]);
    assert_eq!(list(Some(b), Some((b, Seq(1))), 1), [(b, 3)]);
    assert_eq!(list(Some(b), Some((a, Seq(9))), 9).len(), 3);
    world.finish();
}

/// A dead letter that parks holds its key back, one that does not lets it go on.
pub fn a_parking_dead_letter_holds_its_key_back(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish_all((1..=3).map(|n| routed(&format!("e{n}"), &[a])).collect());
    world.defer(a, 2, "k");
    world.defer(a, 3, "k");

    world.settle(settle(a, 1, Seq(1), dead(true)));
    assert_eq!(world.deferred(a, "k"), [2, 3], "whose turn it is, the subscription knows");
    world.repair(a, Seq(1), false);
    assert_eq!(world.deferred(a, "k"), [2, 3]);

    world.settle(settle(a, 2, Seq(2), dead(false)));
    assert_eq!(world.deferred(a, "k"), [3]);
    world.finish();
}

/// A retried dead letter comes back at its place, with a fresh count of failures.
pub fn a_retried_dead_letter_comes_back_at_its_place(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish_all((1..=3).map(|n| routed(&format!("e{n}"), &[a])).collect());
    world.defer(a, 2, "k");
    world.settle(settle(a, 1, Seq(1), dead(true)));
    world.pass(Duration::from_secs(7));

    let receipt = world.repair(a, Seq(1), true);

    let Receipt::Applied { appended, flow, .. } = receipt else { panic!("{receipt:?}") };
    assert_eq!((appended[0].seq, &*appended[0].places), (Seq(1), &[(a, Ordinal(1))][..]));
    assert_eq!((appended[0].event.id.as_str(), flow.as_deref()), ("e1", Some("flow-e1")));
    assert_eq!(world.queue(a), [1, 3]);
    assert_eq!(world.deferred(a, "k"), [2]);
    let queued = world.reader().queue(a, Ordinal(0), 1).unwrap().remove(0);
    assert_eq!((queued.failures, queued.attempts, queued.ready), (0, 1, world.now));
    assert!(queued.retried && !world.reader().delivery(a, Ordinal(3)).unwrap().unwrap().retried);
    let flow = world.reader().flow("flow-e1").unwrap().unwrap();
    assert_eq!((flow.open, flow.dead), (1, 0));
    let delivery = world.reader().event(Seq(1)).unwrap().unwrap().deliveries.remove(0);
    assert_eq!((delivery.history[1].outcome.as_ref(), &delivery.state), ("retried", &DeliveryState::Ready));
    assert_eq!(delivery.history[1].error.as_deref(), Some("by test"));
    assert_eq!(world.reader().dead_letter(a, Seq(1)).unwrap(), None);
    let record = world.reader().subscriptions().unwrap().remove(0);
    assert_eq!((record.backlog, record.dead), (3, 0));
    world.settle(settle(a, 1, Seq(1), Outcome::Done));
    assert_eq!((world.queue(a), world.deferred(a, "k")), (vec![3], vec![2]));
    world.finish();
}

/// A skipped dead letter lets its flow rest.
pub fn a_skipped_dead_letter_lets_its_flow_rest(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let seq = world.publish("e1", &[a]);
    world.settle(settle(a, 1, seq, dead(true)));

    let receipt = world.repair(a, seq, false);

    assert!(matches!(receipt, Receipt::Applied { appended, .. } if appended.is_empty()));
    let flow = world.reader().flow("flow-e1").unwrap().unwrap();
    assert_eq!((flow.open, flow.dead, flow.rest_since), (0, 0, Some(world.now)));
    let delivery = world.reader().event(seq).unwrap().unwrap().deliveries.remove(0);
    assert_eq!(
        (&delivery.state, delivery.history[1].outcome.as_ref()),
        (&DeliveryState::Skipped, "skipped by hand")
    );
    assert!(world.reader().delivery(a, Ordinal(1)).unwrap().is_none());
    assert_eq!(world.reader().pending(a, Ordinal(0), 9).unwrap(), []);
    world.finish();
}

/// A repair of what is not dead is stale.
pub fn a_repair_of_what_is_not_dead_is_stale(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish_all(vec![routed("e1", &[a]), routed("e2", &[a])]);
    world.settle(settle(a, 1, Seq(1), dead(true)));
    world.repair(a, Seq(1), true);

    for seq in [1, 2, 3] {
        for retry in [true, false] {
            assert!(matches!(world.repair(a, Seq(seq), retry), Receipt::Stale), "{seq} {retry}");
        }
    }
    assert_eq!(world.queue(a), [1, 2]);
    world.finish();
}

/// A retry at a time waits for it at its place, and its key with it.
pub fn a_retry_at_a_time_waits_for_it(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish_all((1..=2).map(|n| routed(&format!("e{n}"), &[a])).collect());
    world.defer(a, 2, "k");
    world.settle(settle(a, 1, Seq(1), dead(true)));
    let due = world.now.plus(Duration::from_mins(5));

    let receipt = world.mend(a, Seq(1), RepairAct::Retry { due: Some(due) });

    assert!(matches!(&receipt, Receipt::Applied { appended, .. } if appended.is_empty()), "{receipt:?}");
    assert_eq!(world.queue(a), [0; 0]);
    let pending = world.reader().pending(a, Ordinal(0), 9).unwrap();
    assert_eq!((pending[0].ordinal, pending[0].state), (Ordinal(1), PendingState::Waiting { due }));
    let delivery = world.reader().event(Seq(1)).unwrap().unwrap().deliveries.remove(0);
    assert_eq!((delivery.state, delivery.failures), (DeliveryState::Waiting { due }, 0));
    let queued = world.reader().delivery(a, Ordinal(1)).unwrap().unwrap();
    assert_eq!((queued.failures, queued.attempts, queued.ready), (0, 1, due));
    let flow = world.reader().flow("flow-e1").unwrap().unwrap();
    let record = world.reader().subscriptions().unwrap().remove(0);
    assert_eq!((flow.open, flow.dead, record.backlog, record.dead), (1, 0, 2, 0));
    assert_eq!(world.reader().dead_letters(None, None, 9).unwrap(), []);
    world.settle(settle(a, 1, Seq(1), dead(true)));
    assert_eq!(world.reader().dead_letters(None, None, 9).unwrap().len(), 1, "seen again");
    world.finish();
}

/// What was done by hand is done, and what it emits is stored with it.
pub fn what_was_done_by_hand_is_done_with_what_it_emits(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let (a, b) = (world.subscribe("a"), world.subscribe("b"));
    let seq = world.publish("e1", &[a]);
    world.publish("e1-known", &[b]);
    let (subscription, name, value) = (a, "charge".to_owned(), Bytes::from_static(b"1"));
    world.apply(Change::Effect { subscription, seq, name, value });
    world.settle(settle(a, 1, seq, dead(true)));

    let emits = vec![routed("e1-new", &[b]), routed("e1-known", &[b])];
    let receipt = world.mend(a, seq, RepairAct::Done { emits, result: Some(Bytes::from_static(b"7")) });

    let Receipt::Applied { appended, flow, .. } = receipt else { panic!("{receipt:?}") };
    assert_eq!((appended.len(), &*appended[0].places), (1, &[(b, Ordinal(2))][..]));
    assert_eq!(flow.as_deref(), Some("flow-e1"));
    let delivery = world.reader().event(seq).unwrap().unwrap().deliveries.remove(0);
    assert_eq!(
        (&delivery.state, delivery.history[1].outcome.as_ref()),
        (&DeliveryState::Done, "done by hand")
    );
    assert_eq!(world.reader().effects(a, seq).unwrap(), []);
    let flow = world.reader().flow("flow-e1").unwrap().unwrap();
    assert_eq!((flow.open, flow.dead, flow.result.as_deref()), (2, 0, Some(&b"7"[..])));
    let record = world.reader().subscriptions().unwrap().remove(0);
    assert_eq!((record.backlog, record.dead), (0, 0));
    let again = world.mend(a, seq, RepairAct::Done { emits: vec![routed("e1-more", &[b])], result: None });
    assert!(matches!(again, Receipt::Stale), "{again:?}");
    assert_eq!(world.queue(b), [1, 2]);
    world.finish();
}

/// An event that supersedes a dead letter takes its place, before what waits behind it.
pub fn an_event_that_supersedes_a_dead_letter_takes_its_place(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let (a, b) = (world.subscribe("a"), world.subscribe("b"));
    world.publish_all((1..=3).map(|n| routed(&format!("e{n}"), &[a])).collect());
    world.defer(a, 2, "k");
    world.settle(settle(a, 1, Seq(1), dead(true)));
    world.pass(Duration::from_secs(7));

    // Routes are not looked at: it is for this subscription.
    let event = Box::new(routed("e1-edited", &[b]));
    let receipt = world.mend(a, Seq(1), RepairAct::Supersede { event, in_place: true });

    let Receipt::Applied { appended, .. } = receipt else { panic!("{receipt:?}") };
    assert_eq!((appended.len(), appended[0].seq, &*appended[0].places), (1, Seq(4), &[(a, Ordinal(1))][..]));
    assert_eq!((world.queue(a), world.deferred(a, "k"), world.queue(b)), (vec![1, 3], vec![2], vec![]));
    let queued = world.reader().queue(a, Ordinal(0), 1).unwrap().remove(0);
    assert_eq!((queued.seq, queued.event.id.as_str()), (Seq(4), "e1-edited"));
    assert_eq!((queued.failures, queued.attempts, queued.ready), (0, 0, world.now));
    let old = world.reader().event(Seq(1)).unwrap().unwrap().deliveries.remove(0);
    assert_eq!(
        (&old.state, old.history[1].outcome.as_ref()),
        (&DeliveryState::Skipped, "superseded by e1-edited")
    );
    let new = world.reader().event(Seq(4)).unwrap().unwrap().deliveries.remove(0);
    assert_eq!((new.subscription, new.ordinal, new.state), (a, Some(Ordinal(1)), DeliveryState::Ready));
    let flow = world.reader().flow("flow-e1").unwrap().unwrap();
    let record = world.reader().subscriptions().unwrap().remove(0);
    assert_eq!((flow.open, flow.dead, record.backlog, record.dead), (1, 0, 3, 0));
    assert!(matches!(world.apply(Change::Settle(settle(a, 1, Seq(1), Outcome::Done))), Receipt::Stale));

    world.settle(settle(a, 1, Seq(4), dead(true)));
    let letter = world.reader().dead_letter(a, Seq(4)).unwrap().unwrap();
    assert_eq!((letter.ordinal, letter.attempts), (Ordinal(1), 1), "it may die as well");
    world.repair(a, Seq(4), true);
    world.settle(settle(a, 1, Seq(4), Outcome::Done));
    assert_eq!((world.queue(a), world.deferred(a, "k")), (vec![3], vec![2]));
    world.finish();
}

/// An event of another key that supersedes a dead letter is the last of the queue.
pub fn an_event_of_another_key_that_supersedes_is_the_last_of_the_queue(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish_all((1..=3).map(|n| routed(&format!("e{n}"), &[a])).collect());
    world.settle(settle(a, 1, Seq(1), dead(true)));
    let supersede = |id| RepairAct::Supersede { event: Box::new(routed(id, &[])), in_place: false };

    let taken = world.mend(a, Seq(1), supersede("e2"));
    assert!(matches!(taken, Receipt::Stale), "an id that is taken supersedes nothing: {taken:?}");
    let receipt = world.mend(a, Seq(1), supersede("e1-edited"));

    let Receipt::Applied { appended, .. } = receipt else { panic!("{receipt:?}") };
    assert_eq!((appended.len(), &*appended[0].places), (1, &[(a, Ordinal(4))][..]));
    assert_eq!(world.queue(a), [2, 3, 4]);
    assert!(world.reader().delivery(a, Ordinal(1)).unwrap().is_none());
    let flow = world.reader().flow("flow-e1").unwrap().unwrap();
    let record = world.reader().subscriptions().unwrap().remove(0);
    assert_eq!((flow.open, flow.dead, record.backlog, record.dead), (1, 0, 3, 0));
    world.settle(settle(a, 4, Seq(4), Outcome::Done));
    assert_eq!(world.reader().flow("flow-e1").unwrap().unwrap().rest_since, Some(world.now));
    world.finish();
}

/// Dead letters that have failed alike are counted as they come and go.
pub fn dead_letters_that_fail_alike_are_counted_as_they_come_and_go(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let (a, b) = (world.subscribe("a"), world.subscribe("b"));
    world.publish_all((1..=4).map(|n| routed(&format!("e{n}"), &[a, b])).collect());
    let dies = |n: u64, error: &str| Outcome::Dead {
        reason: if n == 4 { DeadReason::Fatal } else { DeadReason::Attempts },
        error: error.to_owned(),
        parks: true,
    };
    let first = world.now;
    for n in 1..=4 {
        world.settle(settle(a, n, Seq(n), dies(n, &format!("no order {n}00 of \"x{n}\""))));
        world.pass(Duration::from_secs(1));
    }
    world.settle(settle(b, 1, Seq(1), dies(1, "no order 100 of \"x1\"")));

    let all = world.reader().dead_groups(None, None, 9).unwrap();
    let alike = all.iter().find(|group| group.count == 3).unwrap().clone();
    assert_eq!(all.iter().map(|group| group.count).sum::<u64>(), 5, "{all:?}");
    assert_eq!((all.len(), alike.subscription, alike.reason), (3, a, DeadReason::Attempts));
    assert_eq!((alike.message.as_str(), alike.sample), ("no order # of #", Seq(1)));
    assert_eq!((alike.first, alike.last), (first, first.plus(Duration::from_secs(2))));
    let after = world.reader().dead_groups(None, Some((all[0].subscription, all[0].group)), 1).unwrap();
    assert_eq!(after, all[1..2]);
    assert_eq!(world.reader().dead_groups(Some(b), None, 9).unwrap().len(), 1);
    let grouped = |after| {
        let letters = world.reader().grouped(a, alike.group, after, 9).unwrap();
        letters.iter().map(|letter| (letter.seq.0, letter.group == alike.group)).collect::<Vec<_>>()
    };
    assert_eq!(grouped(None), [(1, true), (2, true), (3, true)]);
    assert_eq!(grouped(Some(Seq(1))), [(2, true), (3, true)]);

    world.repair(a, Seq(1), false);
    world.repair(a, Seq(2), true);
    let left = world.reader().dead_group(alike.group).unwrap().unwrap();
    assert_eq!((left.count, left.sample), (1, Seq(3)));
    world.settle(settle(a, 2, Seq(2), dies(2, "no order 7 of \"y\"")));
    assert_eq!(world.reader().dead_group(alike.group).unwrap().unwrap().count, 2);
    for seq in [2, 3] {
        world.repair(a, Seq(seq), false);
    }
    assert_eq!(world.reader().dead_group(alike.group).unwrap(), None);
    world.finish();
}

/// What was put aside behind a delivery is listed and counted in its order.
pub fn what_waits_behind_is_listed_in_its_order(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish_all((1..=6).map(|n| routed(&format!("e{n}"), &[a])).collect());
    world.settle(settle(a, 2, Seq(2), dead(true)));
    for (ordinal, key) in [(1, "k"), (3, "k"), (4, "other"), (5, "k"), (6, "k")] {
        world.defer(a, ordinal, key);
    }

    let behind = |after, limit| world.reader().waiting(a, "k", Ordinal(after), limit).unwrap();

    assert_eq!(behind(2, 9), [3, 5, 6].map(|n| (Ordinal(n), Seq(n))));
    assert_eq!(behind(3, 1), [(Ordinal(5), Seq(5))]);
    assert_eq!(world.reader().count_waiting(a, "k", Ordinal(2), 9).unwrap(), 3);
    assert_eq!(world.reader().count_waiting(a, "k", Ordinal(2), 2).unwrap(), 2);
    assert_eq!(world.reader().waiting(a, "odd", Ordinal(0), 9).unwrap(), []);
    world.finish();
}
