//! Promises about dead letters and what a person does with them.

use std::time::Duration;

use super::Engine;
use super::kit::{World, dead, retry, routed, settle};
use crate::store::{Change, DeadReason, DeliveryState, Ordinal, Outcome, PendingState, Receipt, Seq};

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
    assert_eq!((appended[0].seq, &appended[0].places), (Seq(1), &vec![(a, Ordinal(1))]));
    assert_eq!((appended[0].event.id.as_str(), flow.as_deref()), ("e1", Some("flow-e1")));
    assert_eq!(world.queue(a), [1, 3]);
    assert_eq!(world.deferred(a, "k"), [2]);
    let queued = world.reader().queue(a, Ordinal(0), 1).unwrap().remove(0);
    assert_eq!((queued.failures, queued.attempts, queued.ready), (0, 1, world.now));
    assert!(queued.retried && !world.reader().delivery(a, Ordinal(3)).unwrap().unwrap().retried);
    let flow = world.reader().flow("flow-e1").unwrap().unwrap();
    assert_eq!((flow.open, flow.dead), (1, 0));
    let delivery = world.reader().event(Seq(1)).unwrap().unwrap().deliveries.remove(0);
    assert_eq!((delivery.history[1].outcome.as_str(), &delivery.state), ("retried", &DeliveryState::Ready));
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
        (&delivery.state, delivery.history[1].outcome.as_str()),
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
