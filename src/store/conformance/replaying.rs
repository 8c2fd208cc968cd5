//! What is not heard, and what is heard again.

use std::time::Duration;

use super::{Engine, World, dead, routed, settle};
use crate::event::Timestamp;
use crate::store::{
    Change, DeliveryState, Fate, Fates, Ordinal, Outcome, Receipt, Replay, Routed, Seq, SubscriptionId,
};

fn seqs(found: &[crate::store::EventRecord]) -> Vec<u64> {
    found.iter().map(|event| event.seq.0).collect()
}

fn replay(world: &mut World<'_>, id: SubscriptionId, numbers: &[u64], generation: u32) -> Receipt {
    let seqs = numbers.iter().copied().map(Seq).collect();
    world.apply(Change::Replay(Replay { subscription: id, seqs, generation }))
}

fn fates(receipt: &Receipt) -> Fates {
    match receipt {
        Receipt::Replayed { fates, .. } => *fates,
        other => panic!("not replayed: {other:?}"),
    }
}

/// Events without a subscription, emitted ones too, stand in a list as long as their status is there.
pub fn what_nobody_hears_is_counted_and_listed_until_it_expires(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let one = world.subscribe("one");
    for n in 1..=5 {
        world.publish(&format!("lost{n}"), &[]);
    }
    world.publish("heard", &[one]);
    let mut emitting = settle(one, 1, Seq(6), Outcome::Done);
    emitting.emits = vec![routed("heard-emit", &[])];
    world.settle(emitting);

    let reader = world.reader();
    assert_eq!(seqs(&reader.unrouted(None, 10).unwrap()), [7, 5, 4, 3, 2, 1], "what is emitted too");
    assert_eq!(seqs(&reader.unrouted(Some(Seq(5)), 2).unwrap()), [4, 3]);
    assert_eq!(seqs(&reader.unrouted(Some(Seq(0)), 2).unwrap()), [0; 0]);
    assert_eq!(reader.stats().unrouted, 6);
    drop(reader);

    world.pass_and_maintain(Duration::from_hours(2));
    assert_eq!(seqs(&world.reader().unrouted(None, 10).unwrap()), [0; 0]);
    assert_eq!(world.reader().stats().unrouted, 6, "the count tells what has happened");
    world.finish();
}

/// An event whose only listeners have a filter that keeps it out is filtered.
pub fn what_a_filter_keeps_out_is_told_as_filtered_and_not_as_unrouted(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let (one, two) = (world.subscribe("one"), world.subscribe("two"));
    let kept_out = |id: &str, routes: &[SubscriptionId], filtered: &[SubscriptionId]| Routed {
        filtered: filtered.to_vec(),
        ..routed(id, routes)
    };
    world.publish_all(vec![
        kept_out("a", &[one], &[two]),
        kept_out("b", &[], &[one, two, two]),
        kept_out("c", &[one], &[one, SubscriptionId(99)]),
    ]);

    let reader = world.reader();
    assert_eq!(seqs(&reader.filtered(one, None, 10).unwrap()), [2]);
    assert_eq!(seqs(&reader.filtered(two, None, 10).unwrap()), [2, 1]);
    assert_eq!(seqs(&reader.filtered(two, Some(Seq(2)), 10).unwrap()), [1]);
    assert_eq!(seqs(&reader.unrouted(None, 10).unwrap()), [0; 0]);
    assert_eq!(reader.event(Seq(2)).unwrap().unwrap().filtered, [one, two]);
    let counts: Vec<u64> = reader.subscriptions().unwrap().iter().map(|record| record.filtered).collect();
    assert_eq!(counts, [1, 2]);
    drop(reader);
    world.settle(settle(one, 1, Seq(1), Outcome::Done));

    replay(&mut world, two, &[], 1);
    assert_eq!(fates(&replay(&mut world, two, &[2], 1)).new, 1);
    assert_eq!(seqs(&world.reader().filtered(two, None, 10).unwrap()), [1], "it has it now");
    world.pass_and_maintain(Duration::from_hours(2));
    assert_eq!(seqs(&world.reader().filtered(two, None, 10).unwrap()), [0; 0]);
    assert_eq!(seqs(&world.reader().filtered(one, None, 10).unwrap()), [2], "its flow is open again");
    world.finish();
}

/// Done and skipped deliveries come back at the end of the queue, new ones join them.
pub fn a_replay_opens_what_is_at_rest_and_leaves_the_others_alone(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let id = world.subscribe("one");
    for n in 1..=4 {
        world.publish(&format!("f{n}"), &[id]);
    }
    world.publish("f5", &[]);
    world.settle(settle(id, 1, Seq(1), Outcome::Done));
    world.settle(settle(id, 2, Seq(2), Outcome::Skipped { reason: "none".to_owned() }));
    world.settle(settle(id, 3, Seq(3), dead(true)));
    let all = [1, 2, 3, 4, 5, 9];
    let seqs = all.map(Seq);
    let expected = [Fate::Again, Fate::Again, Fate::Dead, Fate::Open, Fate::New, Fate::Gone];
    assert_eq!(world.reader().fates(id, &seqs).unwrap(), expected);

    assert!(matches!(replay(&mut world, id, &all, 1), Receipt::Stale), "it has not begun");
    assert_eq!(fates(&replay(&mut world, id, &[], 1)), Fates::default());
    world.pass(Duration::from_secs(9));
    let counts = fates(&replay(&mut world, id, &all, 1));

    assert_eq!(counts, Fates { new: 1, again: 2, open: 1, dead: 1, gone: 1 });
    assert_eq!(world.queue(id), [4, 5, 6, 7]);
    let queued = world.reader().queue(id, Ordinal(4), 10).unwrap();
    let of: Vec<_> = queued.iter().map(|q| (q.seq.0, q.generation, q.attempts, q.failures)).collect();
    assert_eq!(of, [(1, 1, 1, 0), (2, 1, 1, 0), (5, 0, 0, 0)]);
    assert_eq!(queued[0].ready, world.now);
    let record = world.reader().subscriptions().unwrap().remove(0);
    assert_eq!((record.generation, record.replayed, record.backlog, record.dead), (1, counts, 4, 1));
    let event = world.reader().event(Seq(1)).unwrap().unwrap();
    let delivery = &event.deliveries[0];
    assert_eq!((&delivery.state, delivery.generation), (&DeliveryState::Ready, 1));
    assert_eq!(delivery.history.last().unwrap().outcome, "replayed");
    let flow = world.reader().flow("flow-f1").unwrap().unwrap();
    assert_eq!((flow.open, flow.rest_since), (1, None));
    assert_eq!(fates(&replay(&mut world, id, &[1, 5], 1)).open, 2, "never twice");

    world.settle(settle(id, 5, Seq(1), Outcome::Done));
    let flow = world.reader().flow("flow-f1").unwrap().unwrap();
    assert_eq!((flow.open, flow.rest_since, flow.attempts), (0, Some(world.now), 2));
    assert!(matches!(replay(&mut world, id, &[1], 2), Receipt::Stale));
    world.finish();
}

/// Whatever becomes of the delivery, what it emits belongs to the last replay.
pub fn a_replayed_delivery_keeps_its_replay_through_retry_and_repair(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let id = world.subscribe("one");
    let seq = world.publish("f1", &[id]);
    world.settle(settle(id, 1, seq, Outcome::Done));
    replay(&mut world, id, &[], 1);
    replay(&mut world, id, &[1], 1);

    world.settle(settle(id, 2, seq, super::retry(world.now)));
    let waiting = world.reader().delivery(id, Ordinal(2)).unwrap().unwrap();
    assert_eq!((waiting.generation, waiting.failures, waiting.attempts), (1, 1, 2));
    world.settle(settle(id, 2, seq, dead(true)));
    world.repair(id, seq, true);
    assert_eq!(world.reader().queue(id, Ordinal(0), 9).unwrap()[0].generation, 1);
    world.settle(settle(id, 2, seq, Outcome::Done));

    replay(&mut world, id, &[], 2);
    replay(&mut world, id, &[1], 2);
    assert_eq!(world.reader().queue(id, Ordinal(0), 9).unwrap()[0].generation, 2);
    world.finish();
}

/// The status of a replayed event begins to age anew, and its payload stays.
pub fn a_replayed_flow_does_not_expire_while_it_is_open(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let id = world.subscribe("one");
    let seq = world.publish("f1", &[id]);
    world.settle(settle(id, 1, seq, Outcome::Done));
    world.pass_and_maintain(Duration::from_mins(59));
    replay(&mut world, id, &[], 1);
    replay(&mut world, id, &[1], 1);

    world.pass_and_maintain(Duration::from_hours(9));

    assert!(world.reader().envelope(seq).unwrap().is_some());
    assert_eq!(world.queue(id), [2]);
    world.settle(settle(id, 2, seq, Outcome::Done));
    world.pass_and_maintain(Duration::from_hours(2));
    assert_eq!(world.reader().event(seq).unwrap(), None);
    assert_eq!(fates(&replay(&mut world, id, &[], 2)), Fates::default());
    assert_eq!(fates(&replay(&mut world, id, &[1], 2)).gone, 1);
    world.finish();
}

/// `from = "start"` and `where` go together.
pub fn a_subscription_from_the_start_gets_what_its_filter_takes(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    for channel in ["web", "shop", "web"] {
        let n = world.reader().stats().events;
        let mut event = super::envelope(&format!("f{n}"));
        event.extensions.insert("channel".to_owned(), channel.to_owned());
        world.publish_all(vec![Routed::new(event.into(), Vec::new())]);
    }
    let filter = crate::event::Filter::default().with("channel", "web").unwrap();
    let spec = crate::store::SubscriptionSpec {
        name: "late".to_owned(),
        step: "late".to_owned(),
        on: vec![">".to_owned()],
        since: Some(Timestamp(0)),
        filter,
    };

    let Receipt::Subscribed(id) = world.apply(Change::Subscribe(spec)) else { panic!("not subscribed") };

    let queued = world.reader().queue(id, Ordinal(0), 9).unwrap();
    assert_eq!(queued.iter().map(|queued| queued.seq.0).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(seqs(&world.reader().unrouted(None, 9).unwrap()), [2], "the others are heard after all");
    world.finish();
}

/// Events page by number.
pub fn events_are_read_in_their_order_from_any_number(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    for n in 1..=5 {
        world.publish(&format!("f{n}"), &[]);
    }
    let reader = world.reader();
    assert_eq!(seqs(&reader.events_from(Seq(0), 3).unwrap()), [1, 2, 3]);
    assert_eq!(seqs(&reader.events_from(Seq(4), 9).unwrap()), [4, 5]);
    assert_eq!(reader.events_from(Seq(2), 1).unwrap()[0].key, "k");
    assert_eq!(seqs(&reader.events_from(Seq(6), 9).unwrap()), [0; 0]);
    drop(reader);
    world.finish();
}
