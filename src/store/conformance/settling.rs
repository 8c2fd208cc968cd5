//! Promises about attempts and their outcomes.

use std::time::Duration;

use bytes::Bytes;

use super::Engine;
use super::kit::{World, dead, ordinals, retry, routed, settle};
use crate::event::Timestamp;
use crate::store::{
    Change, DeliveryState, Ordinal, Outcome, Pending, PendingState, Receipt, Seq, Settle, StateWrite,
    SubscriptionId,
};

/// A settled delivery leaves the queue, and its flow comes to rest with the last one.
pub fn a_settled_delivery_leaves_the_queue_and_its_flow_comes_to_rest(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let (a, b) = (world.subscribe("a"), world.subscribe("b"));
    let seq = world.publish("e1", &[a, b]);

    world.settle(settle(a, 1, seq, Outcome::Done));
    assert_eq!(world.reader().flow("flow-e1").unwrap().unwrap().open, 1);
    world.settle(settle(b, 1, seq, Outcome::Skipped { reason: "nothing to do".to_owned() }));

    let flow = world.reader().flow("flow-e1").unwrap().unwrap();
    assert_eq!((flow.open, flow.dead, flow.attempts, flow.rest_since), (0, 0, 2, Some(world.now)));
    assert_eq!(world.queue(a), [0; 0]);
    let event = world.reader().event(seq).unwrap().unwrap();
    assert_eq!(event.deliveries[0].state, DeliveryState::Done);
    let skipped = &event.deliveries[1];
    assert_eq!((&skipped.state, skipped.history[0].outcome.as_ref()), (&DeliveryState::Skipped, "skipped"));
    assert_eq!(skipped.history[0].error.as_deref(), Some("nothing to do"));
    let records = world.reader().subscriptions().unwrap();
    assert!(records.iter().all(|record| record.backlog == 0 && record.oldest.is_none()));
    world.finish();
}

/// An attempt that keeps its states tells them until its flow expires; others leave nothing.
pub fn an_attempt_keeps_the_states_before_and_after_it(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let (first, second) = (world.publish("e1", &[a]), world.publish("e2", &[a]));
    let wrote = |value: &'static [u8]| Some(StateWrite { value: Bytes::from_static(value) });
    let kept = |ordinal, seq, outcome, state| Settle {
        state,
        keep_states: true,
        ..settle(a, ordinal, seq, outcome)
    };

    world.settle(kept(1, first, retry(world.now), None));
    world.settle(kept(1, first, Outcome::Done, wrote(b"1")));
    world.settle(kept(2, second, Outcome::Done, wrote(b"2")));

    let states = |world: &mut World<'_>, seq| -> Vec<(Option<Bytes>, Option<Bytes>)> {
        let kept = world.reader().step_states(a, seq).unwrap();
        let event = world.reader().event(seq).unwrap().unwrap();
        let commits: Vec<_> = event.deliveries[0].history.iter().map(|attempt| attempt.commit).collect();
        assert_eq!(kept.iter().map(|states| states.commit).collect::<Vec<_>>(), commits);
        kept.into_iter().map(|states| (states.before, states.after)).collect()
    };
    let one = || Some(Bytes::from_static(b"1"));
    assert_eq!(states(&mut world, first), [(None, None), (None, one())]);
    assert_eq!(states(&mut world, second), [(one(), Some(Bytes::from_static(b"2")))]);
    let often = world.publish("often", &[a]);
    for _ in 0..20 {
        world.settle(kept(3, often, retry(world.now), None));
    }
    assert_eq!(world.reader().step_states(a, often).unwrap().len(), 16, "as many as its history shows");
    let third = world.publish("e3", &[a]);
    world.settle(settle(a, 4, third, Outcome::Done));
    assert_eq!(world.reader().step_states(a, third).unwrap(), []);
    world.pass_and_maintain(Duration::from_hours(48));
    assert_eq!(world.reader().event(first).unwrap(), None, "it has expired");
    assert_eq!(world.reader().step_states(a, first).unwrap(), []);
    world.finish();
}

/// A second settle of one delivery is stale and leaves no trace.
pub fn a_second_settle_of_one_delivery_is_stale(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let seq = world.publish("e1", &[a]);
    world.settle(settle(a, 1, seq, Outcome::Done));
    let mut again = settle(a, 1, seq, Outcome::Done);
    again.state = Some(StateWrite { value: Bytes::from_static(b"2") });
    again.emits = vec![routed("emitted", &[a])];

    let receipt = world.apply(Change::Settle(again));

    assert!(matches!(receipt, Receipt::Stale), "{receipt:?}");
    assert_eq!(world.reader().state(a, "k").unwrap(), None);
    assert_eq!((world.reader().stats().events, world.queue(a).len()), (1, 0));
    world.finish();
}

/// A settle that names another event, another place or nobody is stale.
pub fn a_settle_that_names_another_event_is_stale(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish_all(vec![routed("e1", &[a]), routed("e2", &[a])]);
    let wrong = [
        settle(a, 1, Seq(2), Outcome::Done),
        settle(a, 3, Seq(1), Outcome::Done),
        settle(a, 0, Seq(1), Outcome::Done),
        settle(SubscriptionId(7), 1, Seq(1), Outcome::Done),
    ];

    for settle in wrong {
        let receipt = world.apply(Change::Settle(settle));
        assert!(matches!(receipt, Receipt::Stale), "{receipt:?}");
    }
    let defer = world.apply(Change::Defer { subscription: a, ordinal: Ordinal(3), key: "k".to_owned() });
    assert!(matches!(defer, Receipt::Stale), "{defer:?}");
    assert_eq!(world.queue(a), [1, 2]);
    world.finish();
}

/// State and emitted events are stored with the settle.
pub fn state_and_emits_are_stored_with_the_settle(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let (a, b) = (world.subscribe("a"), world.subscribe("b"));
    let seq = world.publish("e1", &[a]);
    let mut done = settle(a, 1, seq, Outcome::Done);
    done.state = Some(StateWrite { value: Bytes::from_static(b"{\"n\":1}") });
    done.emits = vec![routed("e1-x", &[b]), routed("e1-y", &[a, b])];

    let appended = world.settle(done);

    assert_eq!(*appended[1].places, [(a, Ordinal(2)), (b, Ordinal(2))]);
    assert_eq!(world.reader().state(a, "k").unwrap().unwrap(), "{\"n\":1}");
    assert_eq!(world.reader().state(b, "k").unwrap(), None);
    let flow = world.reader().flow("flow-e1").unwrap().unwrap();
    assert_eq!((flow.events, flow.open), (vec![Seq(1), Seq(2), Seq(3)], 3));
    assert_eq!((world.queue(a), world.queue(b)), (vec![2], vec![1, 2]));
    world.finish();
}

/// An emit that is known already is not appended again: no re-run publishes twice.
pub fn an_emit_that_is_known_is_not_appended_again(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish("e1", &[a]);
    world.publish("e1-x", &[a]);
    let mut first = settle(a, 1, Seq(1), retry(world.now));
    first.emits = vec![routed("e1-x", &[a]), routed("e1-y", &[a]), routed("e1-y", &[a])];
    let mut second = settle(a, 1, Seq(1), Outcome::Done);
    second.emits = vec![routed("e1-y", &[a])];

    assert_eq!(world.settle(first).len(), 1);
    assert_eq!(world.settle(second).len(), 0);

    assert_eq!(world.reader().stats().events, 3);
    world.finish();
}

/// The first result of a flow stands.
pub fn the_first_result_of_a_flow_stands(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let (a, b) = (world.subscribe("a"), world.subscribe("b"));
    let seq = world.publish("e1", &[a, b]);
    for (id, result) in [(a, "1"), (b, "2")] {
        let mut done = settle(id, 1, seq, Outcome::Done);
        done.result = Some(Bytes::from_static(result.as_bytes()));
        world.settle(done);
    }

    assert_eq!(world.reader().flow("flow-e1").unwrap().unwrap().result.unwrap(), "1");
    world.finish();
}

/// A retry waits beside the queue; its attempts are counted.
pub fn a_retry_waits_beside_the_queue_and_counts(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish_all(vec![routed("e1", &[a]), routed("e2", &[a])]);
    let due = world.now.plus_millis(500);

    world.settle(settle(a, 1, Seq(1), retry(due)));

    assert_eq!(world.queue(a), [2]);
    let waiting = Pending {
        ordinal: Ordinal(1),
        seq: Seq(1),
        key: "k".to_owned(),
        failures: 1,
        state: PendingState::Waiting { due },
    };
    assert_eq!(world.reader().pending(a, Ordinal(0), 10).unwrap(), [waiting]);
    assert_eq!(world.reader().pending(a, Ordinal(1), 10).unwrap(), []);
    let delivery = world.reader().delivery(a, Ordinal(1)).unwrap().unwrap();
    assert_eq!((delivery.attempts, delivery.failures, delivery.ready), (1, 1, due));
    assert_eq!(delivery.event.id, "e1");
    let record = world.reader().subscriptions().unwrap().remove(0);
    assert_eq!((record.backlog, record.oldest), (2, Some(world.now)));
    let event = world.reader().event(Seq(1)).unwrap().unwrap();
    assert_eq!(event.deliveries[0].state, DeliveryState::Waiting { due });
    assert_eq!(event.deliveries[0].error.as_deref(), Some("not yet"));
    world.settle(settle(a, 1, Seq(1), Outcome::Done));
    assert_eq!(world.reader().pending(a, Ordinal(0), 10).unwrap(), []);
    assert!(world.reader().delivery(a, Ordinal(1)).unwrap().is_none());
    world.finish();
}

/// A snooze is no failure.
pub fn a_snooze_is_no_failure(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let seq = world.publish("e1", &[a]);
    let mut snooze = settle(a, 1, seq, Outcome::Snooze { due: world.now.plus_millis(9) });
    snooze.counted = false;

    world.settle(snooze);

    let delivery = world.reader().delivery(a, Ordinal(1)).unwrap().unwrap();
    assert_eq!((delivery.attempts, delivery.failures), (1, 0));
    assert_eq!(world.reader().event(seq).unwrap().unwrap().deliveries[0].error, None);
    world.finish();
}

/// The history holds the last sixteen attempts, the counters all.
pub fn the_history_holds_the_last_sixteen_attempts(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let seq = world.publish("e1", &[a]);
    for n in 0..20 {
        let error = format!("error {n}");
        world.settle(settle(a, 1, seq, Outcome::Retry { due: world.now, error }));
    }

    let delivery = world.reader().event(seq).unwrap().unwrap().deliveries.remove(0);
    assert_eq!((delivery.attempts, delivery.history.len()), (20, 16));
    assert_eq!(delivery.history[0].error.as_deref(), Some("error 4"));
    assert_eq!((delivery.history[15].waited_ms, delivery.history[15].ran_ms), (1, 2));
    world.finish();
}

/// Journaled results last until the delivery is settled for good.
pub fn journaled_results_last_until_the_delivery_is_settled(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let (a, b) = (world.subscribe("a"), world.subscribe("b"));
    let seq = world.publish("e1", &[a, b]);
    let effect = |subscription, name: &str| Change::Effect {
        subscription,
        seq,
        name: name.to_owned(),
        value: Bytes::from(format!("\"{name}\"")),
    };
    for name in ["reserve", "charge"] {
        assert!(matches!(world.apply(effect(a, name)), Receipt::Applied { .. }));
    }
    world.apply(effect(b, "other"));
    world.settle(settle(a, 1, seq, retry(world.now)));

    let names = |effects: Vec<(String, Bytes)>| effects.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(world.reader().effects(a, seq).unwrap()), ["charge", "reserve"]);
    world.settle(settle(a, 1, seq, Outcome::Done));
    assert_eq!(world.reader().effects(a, seq).unwrap(), []);
    assert_eq!(names(world.reader().effects(b, seq).unwrap()), ["other"]);
    assert!(matches!(world.apply(effect(a, "late")), Receipt::Stale));
    world.settle(settle(b, 1, seq, dead(true)));
    world.repair(b, seq, true);
    assert_eq!(names(world.reader().effects(b, seq).unwrap()), ["other"], "a retry repeats no call");
    world.settle(settle(b, 1, seq, dead(true)));
    world.repair(b, seq, false);
    assert_eq!(world.reader().effects(b, seq).unwrap(), []);
    world.finish();
}

/// Progress is told while the delivery is open.
pub fn progress_is_told_while_the_delivery_is_open(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let seq = world.publish("e1", &[a]);
    let version = world.reader().flow("flow-e1").unwrap().unwrap().commit;
    let progress = |text: &str| Change::Progress { subscription: a, seq, text: text.to_owned() };

    let told = world.apply(progress("half"));

    assert!(matches!(told, Receipt::Applied { flow: Some(flow), .. } if flow == "flow-e1"));
    assert_eq!(world.reader().event(seq).unwrap().unwrap().deliveries[0].progress.as_deref(), Some("half"));
    assert!(world.reader().flow("flow-e1").unwrap().unwrap().commit > version);
    world.settle(settle(a, 1, seq, Outcome::Done));
    assert!(matches!(world.apply(progress("late")), Receipt::Stale));
    world.finish();
}

/// Deferred deliveries come back in order, behind what they wait for.
pub fn deferred_deliveries_come_back_in_order_behind_what_they_wait_for(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish_all((1..=6).map(|n| routed(&format!("e{n}"), &[a])).collect());
    for ordinal in [2, 4, 5] {
        world.defer(a, ordinal, "k");
    }
    world.defer(a, 3, "other");

    assert_eq!(world.queue(a), [1, 6]);
    assert_eq!((world.deferred(a, "k"), world.deferred(a, "other")), (vec![2, 4, 5], vec![3]));
    assert_eq!(ordinals(&world.reader().deferred(a, "k", 2).unwrap()), [2, 4]);
    let pending = world.reader().pending(a, Ordinal(0), 10).unwrap();
    let told: Vec<_> = pending.iter().map(|row| (row.ordinal.0, row.key.as_str())).collect();
    assert_eq!(told, [(2, "k"), (3, "other")], "one for each key with deferred deliveries");
    let state = world.reader().event(Seq(2)).unwrap().unwrap().deliveries.remove(0).state;
    assert_eq!((state, world.reader().subscriptions().unwrap()[0].backlog), (DeliveryState::Deferred, 6));

    world.settle(settle(a, 1, Seq(1), retry(world.now.plus_millis(5))));
    assert_eq!(world.deferred(a, "k"), [2, 4, 5], "also while the first of the key waits for its retry");
    world.settle(settle(a, 1, Seq(1), Outcome::Done));
    world.settle(settle(a, 2, Seq(2), Outcome::Done));
    assert_eq!(world.deferred(a, "k"), [4, 5]);
    world.settle(settle(a, 4, Seq(4), retry(world.now)));
    assert_eq!(world.deferred(a, "k"), [5], "a retry is deferred no more");
    let count = |key, limit| world.reader().deferred_count(a, key, limit).unwrap();
    assert_eq!((count("k", 9), count("other", 9), count("other", 0), count("none", 9)), (1, 1, 0, 0));
    assert_eq!(world.reader().subscriptions().unwrap()[0].settles, 4);
    assert_eq!(world.queue(a), [6]);
    world.finish();
}

/// A queue that is settled out of order stays bounded and loses nothing.
pub fn a_queue_settled_out_of_order_stays_bounded_and_loses_nothing(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish_all((1..=3_000).map(|n| routed(&format!("e{n}"), &[a])).collect());
    let now = world.now;
    let mut even: Vec<_> =
        (1..=1_500).map(|n| Change::Settle(settle(a, n * 2, Seq(n * 2), Outcome::Done))).collect();
    world.keys.insert("k".to_owned());

    let receipts = world.store().stage(now, &mut even).unwrap();

    assert!(receipts.iter().all(|receipt| matches!(receipt, Receipt::Applied { .. })));
    let odd: Vec<u64> = (0..1_500).map(|n| n * 2 + 1).collect();
    assert_eq!(world.queue(a), odd);
    assert_eq!(ordinals(&world.reader().queue(a, Ordinal(501), 3).unwrap()), [503, 505, 507]);
    assert_eq!(
        world.reader().pending(a, Ordinal(0), 10).unwrap(),
        [],
        "what was spilled is ready, not pending"
    );
    world.settle(settle(a, 1, Seq(1), Outcome::Done));
    world.settle(settle(a, 2_999, Seq(2_999), Outcome::Done));
    world.settle(settle(a, 3, Seq(3), retry(Timestamp(0))));
    assert_eq!(world.queue(a), odd[2..1_499]);
    assert_eq!(world.reader().subscriptions().unwrap()[0].backlog, 1_498);
    world.pass(Duration::from_secs(1));
    world.finish();
}
