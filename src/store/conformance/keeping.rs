//! Promises about subscriptions, time to live and size.

use std::time::Duration;

use bytes::Bytes;

use super::Engine;
use super::kit::{World, dead, envelope, ordinals, routed, settle};
use crate::store::{
    Change, Lookup, Ordinal, Outcome, Receipt, Routed, Seq, StateWrite, StoreSettings, SubscriptionSpec,
};

/// A subscription keeps its number and its backlog when it is declared again or orphaned.
pub fn a_subscription_keeps_its_number_and_its_backlog(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let (a, b) = (world.subscribe("a"), world.subscribe("b"));
    world.publish("e1", &[a]);
    world.apply(Change::Orphan(a));
    assert!(world.reader().subscriptions().unwrap()[0].orphaned);
    let changed = SubscriptionSpec {
        name: "a".to_owned(),
        step: "new_step".to_owned(),
        on: vec!["other.name".to_owned()],
        since: Some(world.now),
        filter: crate::event::Filter::default(),
    };

    let receipt = world.apply(Change::Subscribe(changed));

    assert!(matches!(receipt, Receipt::Subscribed(id) if id == a));
    let records = world.reader().subscriptions().unwrap();
    assert_eq!((records[0].id, records[1].id, records.len()), (a, b, 2));
    assert_eq!((records[0].step.as_str(), records[0].orphaned), ("new_step", false));
    assert_eq!((records[0].on[0].as_str(), records[0].backlog), ("other.name", 1));
    assert_eq!(world.queue(a), [1]);
    world.finish();
}

/// A subscription from the start gets earlier events of its names, in order.
pub fn a_subscription_from_the_start_gets_earlier_events_in_order(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish("e1", &[a]);
    world.pass(Duration::from_secs(1));
    let since = world.now;
    world.publish_all((2..=700).map(|n| routed(&format!("e{n}"), &[])).collect());
    let mut other = envelope("other");
    other.name = crate::event::EventName::new("other.name").unwrap();
    world.publish_all(vec![Routed::new(other.into(), vec![])]);
    let spec = SubscriptionSpec {
        name: "late".to_owned(),
        step: "s".to_owned(),
        on: vec!["test.*".to_owned()],
        since: Some(since),
        filter: crate::event::Filter::default(),
    };

    let Receipt::Subscribed(late) = world.apply(Change::Subscribe(spec)) else { panic!("not subscribed") };

    let queued = world.reader().queue(late, Ordinal(0), 1_000).unwrap();
    assert_eq!((queued.len(), queued[0].seq, queued[698].seq), (699, Seq(2), Seq(700)));
    assert_eq!(queued[0].ready, since);
    let flow = world.reader().flow("flow-e2").unwrap().unwrap();
    assert_eq!((flow.open, flow.rest_since), (1, None));
    assert_eq!(world.reader().event(Seq(2)).unwrap().unwrap().deliveries[0].ordinal, Some(Ordinal(1)));
    world.settle(settle(late, 1, Seq(2), Outcome::Done));
    assert_eq!(world.reader().flow("flow-e2").unwrap().unwrap().open, 0);
    let third = world.subscribe("third");
    assert_eq!(world.queue(third), [0; 0], "without `since` only what comes later");
    world.finish();
}

/// A subscription that is attached while others publish has no gap: what was routed before it was known is
/// added, what was filtered out is not, and after a moment the routes are taken as they come.
pub fn an_attached_subscription_gets_what_was_routed_before_it_was_known(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish("e1", &[a]);
    let spec = SubscriptionSpec {
        name: "late".to_owned(),
        step: "s".to_owned(),
        on: vec!["test.*".to_owned()],
        since: Some(world.now),
        filter: crate::event::Filter::default(),
    };
    let Receipt::Subscribed(late) = world.apply(Change::Attach(spec)) else { panic!("not attached") };

    world.publish("e2", &[a]);
    world.publish_all(vec![Routed { filtered: vec![late], ..routed("e3", &[a]) }]);
    world.publish("e4", &[a, late]);
    let emit = crate::store::Settle { emits: vec![routed("e5", &[])], ..settle(a, 1, Seq(1), Outcome::Done) };
    world.settle(emit);
    world.pass(Duration::from_secs(3));
    world.publish("e6", &[a]);

    let queued = world.reader().queue(late, Ordinal(0), 100).unwrap();
    let seqs: Vec<u64> = queued.iter().map(|queued| queued.seq.0).collect();
    assert_eq!(seqs, [1, 2, 4, 5]);
    world.apply(Change::Orphan(late));
    assert!(world.reader().subscriptions().unwrap()[1].orphaned);
    world.finish();
}

/// A pause is remembered; one of nobody is stale.
pub fn a_pause_is_remembered(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");

    world.apply(Change::Pause { subscription: a, paused: true });

    assert!(world.reader().subscriptions().unwrap()[0].paused);
    let nobody = crate::store::SubscriptionId(9);
    assert!(matches!(world.apply(Change::Pause { subscription: nobody, paused: true }), Receipt::Stale));
    assert!(matches!(world.apply(Change::Orphan(nobody)), Receipt::Stale));
    world.finish();
}

/// A status expires after its time; the id stays remembered, and a repeat is still a repeat.
pub fn a_status_expires_and_the_id_stays_remembered(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let seq = world.publish("e1", &[a]);
    world.settle(settle(a, 1, seq, Outcome::Done));
    world.pass_and_maintain(Duration::from_mins(59));
    assert_eq!(world.reader().find(envelope("e1").identity()).unwrap(), Lookup::Known(seq));

    world.pass_and_maintain(Duration::from_mins(2));

    assert_eq!(world.reader().find(envelope("e1").identity()).unwrap(), Lookup::Forgotten);
    assert_eq!(world.reader().event(seq).unwrap(), None);
    assert_eq!(world.reader().flow("flow-e1").unwrap(), None);
    let (published, _) = world.publish_all(vec![routed("e1", &[a])]);
    assert_eq!(published[0], crate::store::Published { seq, replayed: true, flow: None });
    world.finish();
}

/// What was polled goes when it expires, also when its id has outlived its time because the flow was open.
pub fn a_status_that_was_polled_expires(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let (a, identity) = (world.subscribe("a"), envelope("e1").identity());
    let seq = world.publish("e1", &[a]);
    world.pass_and_maintain(Duration::from_hours(9));
    assert!(world.reader().stands(identity).unwrap().is_some(), "it is open");

    world.settle(settle(a, 1, seq, Outcome::Done));
    assert_eq!(world.reader().stands(identity).unwrap().map(|found| found.flow.open), Some(0));
    world.pass_and_maintain(Duration::from_hours(2));

    assert_eq!(world.reader().event(seq).unwrap(), None);
    assert_eq!(world.reader().stands(identity).unwrap(), None);
    assert_eq!(world.reader().at_hand(identity), None);
    world.finish();
}

/// A flow with an open delivery, a dead letter too, never expires; nor is its id forgotten.
pub fn an_open_flow_never_expires(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish_all(vec![routed("e1", &[a]), routed("e2", &[a])]);
    world.settle(settle(a, 1, Seq(1), dead(true)));

    world.pass_and_maintain(Duration::from_hours(1_000));

    for (id, seq) in [("e1", Seq(1)), ("e2", Seq(2))] {
        assert_eq!(world.reader().find(envelope(id).identity()).unwrap(), Lookup::Known(seq));
        assert!(world.reader().envelope(seq).unwrap().is_some());
    }
    world.repair(a, Seq(1), false);
    world.settle(settle(a, 2, Seq(2), Outcome::Done));
    world.pass_and_maintain(Duration::from_hours(2));
    for id in ["e1", "e2"] {
        assert_eq!(world.reader().find(envelope(id).identity()).unwrap(), Lookup::Unknown, "{id}");
    }
    world.finish();
}

/// Ids are forgotten after the window, not before.
pub fn ids_are_forgotten_after_the_window(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    world.publish("e1", &[]);
    world.pass_and_maintain(Duration::from_mins(239));
    assert_eq!(world.reader().find(envelope("e1").identity()).unwrap(), Lookup::Forgotten);

    // The window and one bucket: the records of a bucket go together.
    world.pass_and_maintain(Duration::from_mins(62));

    assert_eq!(world.reader().find(envelope("e1").identity()).unwrap(), Lookup::Unknown);
    assert_eq!(world.publish("e1", &[]), Seq(2));
    world.finish();
}

/// Pressure forgets the oldest ids, but none of a flow that is not at rest.
pub fn pressure_forgets_the_oldest_ids_but_none_of_an_open_flow(engine: &mut dyn Engine) {
    let settings = StoreSettings { dedupe_max_bytes: 100 * 64, ..StoreSettings::default() };
    let mut world = World::with(engine, settings);
    let a = world.subscribe("a");
    world.publish("open", &[a]);
    world.publish("rests", &[]);
    world.pass(Duration::from_mins(1));
    let before = world.reader().stats().dedupe_window_ms;

    for n in 0..200 {
        world.publish(&format!("e{n}"), &[]);
    }
    world.pass_and_maintain(Duration::from_mins(1));
    world.publish("last", &[]);

    let find = |id: &str| world.reader().find(envelope(id).identity()).unwrap();
    assert_eq!((find("open"), find("rests")), (Lookup::Known(Seq(1)), Lookup::Unknown));
    assert_eq!(find("e199"), Lookup::Known(Seq(202)));
    let now = world.reader().stats().dedupe_window_ms;
    assert!(before > 3_600_000 && now <= 120_000, "{before} {now}");
    world.finish();
}

/// A long flow lists all its events, and its expiry goes in slices.
pub fn a_long_flow_lists_all_its_events(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    world.publish_all((1..=3_000).map(|n| routed(&format!("e-{n}"), &[])).collect());

    let events = world.reader().flow("flow-e").unwrap().unwrap().events;
    assert!(events.iter().copied().eq((1..=3_000).map(Seq)));

    world.pass_and_maintain(Duration::from_hours(2));
    assert_eq!(world.reader().flow("flow-e").unwrap(), None);
    assert!((1..=3_000).all(|seq| world.reader().event(Seq(seq)).unwrap().is_none()));
    world.finish();
}

/// Large states, results and names are kept whole.
pub fn large_values_are_kept_whole(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let key = "long ".repeat(20_000);
    let large = Bytes::from((0..300_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect::<Vec<_>>());
    let mut event = envelope("e1");
    event.flow = "f".repeat(100_000);
    world.publish_all(vec![Routed::new(event.into(), vec![a])]);
    world.publish("e2", &[a]);
    let mut done = settle(a, 1, Seq(1), Outcome::Done);
    done.key = key.as_str().into();
    done.state = Some(StateWrite { value: large.clone() });
    done.result = Some(large.clone());
    let effect = Change::Effect { subscription: a, seq: Seq(2), name: key.clone(), value: large.clone() };

    world.settle(done);
    world.apply(effect);
    world.defer(a, 2, &key);
    world.pass_and_maintain(Duration::from_mins(1));

    assert_eq!(world.reader().state(a, &key).unwrap().unwrap(), large);
    let flow = world.reader().flow(&"f".repeat(100_000)).unwrap().unwrap();
    assert_eq!(flow.result.unwrap(), large);
    assert_eq!(world.reader().effects(a, Seq(2)).unwrap(), [(key.clone(), large)]);
    assert_eq!(ordinals(&world.reader().deferred(a, &key, 9).unwrap()), [2]);
    world.finish();
}
