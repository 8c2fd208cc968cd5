//! Promises about publishing.

use std::time::Duration;

use bytes::Bytes;

use super::Engine;
use super::kit::{World, check_at_hand, envelope, ordinals, routed, settle};
use crate::event::Timestamp;
use crate::store::{
    Change, Commit, DeliveryState, Lookup, Novelty, Ordinal, Outcome, Published, Receipt, Routed, Seq,
    SubscriptionId,
};

/// An event is stored and enters every queue it is routed to.
pub fn an_event_is_stored_and_enters_every_queue_it_is_routed_to(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let (a, b) = (world.subscribe("a"), world.subscribe("b"));

    let (published, appended) = world.publish_all(vec![routed("e1", &[a, b])]);

    assert_eq!(published, [Published { seq: Seq(1), replayed: false, flow: None }]);
    assert_eq!(*appended[0].places, [(a, Ordinal(1)), (b, Ordinal(1))]);
    let reader = world.reader();
    assert_eq!(*reader.envelope(Seq(1)).unwrap().unwrap(), envelope("e1"));
    assert_eq!(reader.find(envelope("e1").identity()).unwrap(), Lookup::Known(Seq(1)));
    let queued = reader.queue(b, Ordinal(0), 10).unwrap();
    assert_eq!((queued[0].seq, queued[0].ready, queued[0].attempts), (Seq(1), world.now, 0));
    let flow = reader.flow("flow-e1").unwrap().unwrap();
    assert_eq!((flow.events, flow.open, flow.rest_since), (vec![Seq(1)], 2, None));
    let event = reader.event(Seq(1)).unwrap().unwrap();
    assert!(check_at_hand(&*reader, envelope("e1").identity()), "who polls right away waits for nobody");
    assert!(!check_at_hand(&*reader, envelope("e2").identity()));
    drop(reader);
    assert_eq!((event.deliveries.len(), event.acknowledged), (2, world.now));
    assert_eq!(event.deliveries[0].state, DeliveryState::Ready);
    world.finish();
}

/// Numbers have no gaps: of events, places and commits, also where something was refused between.
pub fn numbers_have_no_gaps(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");

    world.publish("e1", &[a]);
    world.publish("e1", &[a]);
    world.apply(Change::Release(Seq(1)));
    let seq = world.publish("e2", &[a]);

    assert_eq!(seq, Seq(2));
    assert_eq!(world.queue(a), [1, 2]);
    assert_eq!(world.reader().durable(), Commit(3));
    assert_eq!(world.reader().event(Seq(2)).unwrap().unwrap().commit, Commit(3));
    world.finish();
}

/// A repeat is answered as the first time, with the flow that was stored then.
pub fn a_repeat_is_answered_as_the_first_time(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish("e1", &[a]);
    let mut again = envelope("e1");
    "another".clone_into(&mut again.flow);
    again.time = Timestamp(5);

    let (published, appended) = world.publish_all(vec![Routed::new(again.into(), vec![a])]);

    assert_eq!(published, [Published { seq: Seq(1), replayed: true, flow: Some("flow-e1".to_owned()) }]);
    assert!(appended.is_empty());
    assert_eq!(world.queue(a), [1]);
    world.finish();
}

/// What is said to be new of an event is known from then on as of any other.
pub fn what_is_new_of_an_event_is_known_from_then_on(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let mut joining = envelope("e2");
    "flow-e1".clone_into(&mut joining.flow);
    let first = Routed { novelty: Novelty::Flow, ..routed("e1", &[a]) };
    let second = Routed { novelty: Novelty::Id, ..Routed::new(joining.into(), vec![a]) };
    let third = Routed { novelty: Novelty::Flow, ..routed("e3", &[a]) };

    world.publish_all(vec![first, second]);
    world.publish_all(vec![third]);

    assert_eq!(world.queue(a), [1, 2, 3]);
    assert_eq!(world.reader().flow("flow-e1").unwrap().unwrap().events, [Seq(1), Seq(2)]);
    let (again, appended) = world.publish_all(vec![routed("e3", &[a]), routed("e1", &[a])]);
    assert!(appended.is_empty());
    assert_eq!(
        again.iter().map(|old| (old.seq, old.replayed)).collect::<Vec<_>>(),
        [(Seq(3), true), (Seq(1), true)]
    );
    world.finish();
}

/// A repeat inside one batch is stored once.
pub fn a_repeat_inside_one_batch_is_stored_once(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");

    let (published, appended) =
        world.publish_all(vec![routed("e1", &[a]), routed("e2", &[a]), routed("e1", &[a])]);

    let told: Vec<_> = published.iter().map(|event| (event.seq.0, event.replayed)).collect();
    assert_eq!(told, [(1, false), (2, false), (1, true)]);
    assert_eq!(appended.len(), 2);
    world.finish();
}

/// Another body under a known id is refused, with its whole batch.
pub fn another_body_under_a_known_id_is_refused_and_leaves_no_trace(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish("e1", &[a]);
    let other = |id: &str| {
        let mut other = envelope(id);
        other.data = Bytes::from_static(b"\"other\"");
        Routed::new(other.into(), vec![a])
    };

    let stored = world.apply(Change::Publish(vec![routed("e2", &[a]), other("e1")]));
    let inside = world.apply(Change::Publish(vec![routed("e3", &[a]), other("e3")]));

    assert!(matches!(stored, Receipt::Conflict { index: 1 }), "{stored:?}");
    assert!(matches!(inside, Receipt::Conflict { index: 1 }), "{inside:?}");
    assert_eq!(world.reader().find(envelope("e2").identity()).unwrap(), Lookup::Unknown);
    assert_eq!((world.queue(a), world.reader().stats().events), (vec![1], 1));
    assert_eq!(world.publish("e2", &[a]), Seq(2));
    world.finish();
}

/// An event that nobody hears is at rest at once.
pub fn an_event_that_nobody_hears_is_at_rest_at_once(engine: &mut dyn Engine) {
    let mut world = World::new(engine);

    world.publish("e1", &[]);

    let flow = world.reader().flow("flow-e1").unwrap().unwrap();
    assert_eq!((flow.open, flow.rest_since), (0, Some(world.now)));
    world.finish();
}

/// A route to a subscription that does not exist, or a second one to the same, is left out.
pub fn a_route_to_nobody_is_left_out(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");

    world.publish("e1", &[a, SubscriptionId(99), a]);

    assert_eq!(world.queue(a), [1]);
    assert_eq!(world.reader().flow("flow-e1").unwrap().unwrap().open, 1);
    world.finish();
}

/// A delayed event enters its queues when it is released, behind what came in between.
pub fn a_delayed_event_enters_its_queues_when_it_is_released(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let due = world.now.plus_millis(5_000);
    let later = Routed { due: Some(due), ..routed("late", &[a]) };

    let (_, appended) = world.publish_all(vec![later]);
    world.publish("e2", &[a]);

    assert!(appended[0].places.is_empty());
    let event = world.reader().event(Seq(1)).unwrap().unwrap();
    assert_eq!(
        (event.deliveries[0].ordinal, &event.deliveries[0].state),
        (None, &DeliveryState::Waiting { due })
    );
    assert_eq!(world.reader().flow("flow-late").unwrap().unwrap().open, 1);
    assert_eq!(world.reader().due(world.now, 10).unwrap(), (vec![], Some(due)));
    world.pass(Duration::from_secs(5));
    assert_eq!(world.reader().due(world.now, 10).unwrap(), (vec![Seq(1)], None));

    let receipt = world.apply(Change::Release(Seq(1)));

    let Receipt::Applied { appended, .. } = receipt else { panic!("{receipt:?}") };
    assert_eq!((appended[0].seq, &*appended[0].places), (Seq(1), &[(a, Ordinal(2))][..]));
    let queued = world.reader().queue(a, Ordinal(1), 10).unwrap();
    assert_eq!((queued[0].seq, queued[0].ready), (Seq(1), due));
    assert_eq!(world.reader().due(due, 10).unwrap(), (vec![], None));
    world.finish();
}

/// A released event is not released twice, and an event without a delay never.
pub fn a_released_event_is_not_released_twice(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let due = Some(world.now.plus_millis(1));
    world.publish_all(vec![Routed { due, ..routed("late", &[a]) }]);
    world.publish("e2", &[a]);
    world.apply(Change::Release(Seq(1)));

    for seq in [1, 2, 3] {
        assert!(matches!(world.apply(Change::Release(Seq(seq))), Receipt::Stale), "{seq}");
    }
    assert_eq!(world.queue(a), [1, 2]);
    world.finish();
}

/// Readers see what is staged, and know what is durable.
pub fn readers_see_what_is_staged_and_know_what_is_durable(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let (reader, now) = (world.reader(), world.now);

    world.store().stage(now, &mut vec![Change::Publish(vec![routed("e1", &[a])])]).unwrap();

    assert_eq!((reader.staged(), reader.durable()), (Commit(2), Commit(1)));
    assert_eq!(ordinals(&reader.queue(a, Ordinal(0), 9).unwrap()), [1]);
    let identity = envelope("e1").identity();
    assert!(!check_at_hand(&*reader, identity), "nobody is told at once what may still be lost");
    assert_eq!(world.store().sync().unwrap(), Commit(2));
    assert_eq!(reader.durable(), Commit(2));
    assert!(check_at_hand(&*reader, identity));
    drop(reader);
    assert_eq!(world.store().sync().unwrap(), Commit(2));
    world.finish();
}

/// A long queue reads in order, page by page, also where parts of it are settled.
pub fn a_long_queue_reads_in_order_page_by_page(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let events: Vec<_> = (1..=1_000).map(|n| routed(&format!("e{n}"), &[a])).collect();
    world.publish_all(events);
    for ordinal in [1, 2, 3, 300, 513] {
        world.settle(settle(a, ordinal, Seq(ordinal), Outcome::Done));
    }

    let (mut after, mut read) = (Ordinal(0), Vec::new());
    loop {
        let page = world.reader().queue(a, after, 97).unwrap();
        let Some(last) = page.last() else { break };
        after = last.ordinal;
        assert!(page.iter().all(|queued| queued.seq.0 == queued.ordinal.0));
        assert!(page.iter().all(|queued| queued.event.id == format!("e{}", queued.seq.0)));
        read.extend(ordinals(&page));
    }

    let expected: Vec<u64> = (4..=1_000).filter(|n| ![300, 513].contains(n)).collect();
    assert_eq!(read, expected);
    world.finish();
}

/// A read of a queue stops at about a mebibyte of payload, and the next goes on from there.
pub fn a_read_of_a_queue_stops_at_a_mebibyte(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    for n in 0..5 {
        let mut large = envelope(&format!("e{n}"));
        large.data = Bytes::from(vec![b'x'; 400 << 10]);
        world.publish_all(vec![Routed::new(large.into(), vec![a])]);
    }

    let first = world.reader().queue(a, Ordinal(0), 100).unwrap();
    let second = world.reader().queue(a, Ordinal(3), 100).unwrap();

    assert_eq!((ordinals(&first), ordinals(&second)), (vec![1, 2, 3], vec![4, 5]));
    world.finish();
}
