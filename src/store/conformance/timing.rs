//! Promises about delayed events and about flows with a deadline.

use std::time::Duration;

use super::Engine;
use super::kit::{World, dead, routed, settle};
use crate::event::Timestamp;
use crate::store::{Change, DeliveryState, Outcome, Receipt, Routed, Seq, SubscriptionId};

fn delayed(world: &World<'_>, id: &str, routes: &[SubscriptionId], minutes: u64) -> Routed {
    Routed { due: Some(world.now.plus(Duration::from_mins(minutes))), ..routed(id, routes) }
}

fn timed(world: &World<'_>, id: &str, routes: &[SubscriptionId], minutes: u64) -> Routed {
    Routed { deadline: Some(world.now.plus(Duration::from_mins(minutes))), ..routed(id, routes) }
}

fn reschedule(world: &mut World<'_>, seq: u64, due: Option<Timestamp>) -> Receipt {
    world.apply(Change::Reschedule { seq: Seq(seq), due, reason: "by test".to_owned() })
}

fn overdue(world: &mut World<'_>, flow: &str) -> Receipt {
    world.apply(Change::Overdue { flow: flow.to_owned() })
}

/// The count of delayed events is exact: one that nobody hears is not delayed, and each end counts once.
pub fn delayed_events_are_counted(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let (a, b) = (world.subscribe("a"), world.subscribe("b"));
    let count = |world: &World<'_>| world.reader().stats().delayed;
    let batch = (1..=5).map(|n| delayed(&world, &format!("e{n}"), &[a, b], n)).collect();
    world.publish_all(batch);
    let unheard = delayed(&world, "nobody", &[], 1);
    world.publish_all(vec![unheard, routed("now", &[a])]);
    assert_eq!(count(&world), 5);
    let mut done = settle(a, 1, Seq(7), Outcome::Done);
    done.emits = vec![delayed(&world, "emitted", &[a], 9)];

    world.settle(done);
    assert_eq!(count(&world), 6);
    for _ in 0..2 {
        world.apply(Change::Release(Seq(1)));
        reschedule(&mut world, 2, None);
        let later = Some(world.now.plus(Duration::from_hours(1)));
        reschedule(&mut world, 3, later);
    }

    assert_eq!(count(&world), 4);
    world.finish();
}

/// A moved event is due at its new time and at no other, and its history says who moved it.
pub fn a_delayed_event_can_be_moved(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let event = delayed(&world, "e1", &[a], 1);
    world.publish_all(vec![event]);
    let later = world.now.plus(Duration::from_mins(30));

    let receipt = reschedule(&mut world, 1, Some(later));

    assert!(matches!(receipt, Receipt::Applied { flow: Some(flow), .. } if flow == "flow-e1"));
    assert_eq!(world.reader().due(Timestamp(later.0 - 1), 9).unwrap(), (vec![], Some(later)));
    let delivery = world.reader().event(Seq(1)).unwrap().unwrap().deliveries.remove(0);
    assert_eq!(delivery.state, DeliveryState::Waiting { due: later });
    assert_eq!((delivery.history.len(), &*delivery.history[0].outcome), (1, "rescheduled"));
    assert_eq!(delivery.history[0].error.as_deref(), Some("by test"));
    let soon = Timestamp(1);
    reschedule(&mut world, 1, Some(soon));
    assert_eq!(world.reader().due(world.now, 9).unwrap(), (vec![Seq(1)], None));
    world.apply(Change::Release(Seq(1)));
    assert_eq!(world.queue(a), [1]);
    assert_eq!(world.reader().due(Timestamp(u64::MAX), 9).unwrap(), (vec![], None));
    world.finish();
}

/// A cancelled event enters no queue, its deliveries are skipped and its flow comes to rest.
pub fn a_delayed_event_can_be_taken_back(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let (a, b) = (world.subscribe("a"), world.subscribe("b"));
    let event = delayed(&world, "e1", &[a, b], 1);
    world.publish_all(vec![event]);
    assert_eq!(world.reader().flow("flow-e1").unwrap().unwrap().open, 2);

    reschedule(&mut world, 1, None);

    let flow = world.reader().flow("flow-e1").unwrap().unwrap();
    assert_eq!((flow.open, flow.dead, flow.rest_since), (0, 0, Some(world.now)));
    for delivery in world.reader().event(Seq(1)).unwrap().unwrap().deliveries {
        assert_eq!((delivery.state, delivery.ordinal), (DeliveryState::Skipped, None));
        assert_eq!(&*delivery.history[0].outcome, "cancelled");
    }
    assert_eq!(world.reader().due(Timestamp(u64::MAX), 9).unwrap(), (vec![], None));
    assert!(matches!(world.apply(Change::Release(Seq(1))), Receipt::Stale));
    assert!((world.queue(a).is_empty(), world.queue(b).is_empty()) == (true, true));
    assert_eq!(world.reader().subscriptions().unwrap()[0].backlog, 0);
    world.finish();
}

/// What was released, was never delayed or is not there leaves no trace.
pub fn what_was_released_cannot_be_moved(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let event = delayed(&world, "e1", &[a], 1);
    world.publish_all(vec![event, routed("e2", &[a])]);
    world.apply(Change::Release(Seq(1)));
    let before = world.reader().staged();

    for seq in 1..=3 {
        for due in [None, Some(world.now)] {
            assert!(matches!(reschedule(&mut world, seq, due), Receipt::Stale), "{seq}");
        }
    }

    assert_eq!(world.reader().staged(), before);
    assert_eq!(world.queue(a), [1, 2]);
    world.finish();
}

/// A flow that is open at its deadline is listed, marked once, and listed no more.
pub fn an_open_flow_is_overdue_once(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let batch = vec![timed(&world, "e1", &[a], 10), timed(&world, "e2", &[a], 20)];
    world.publish_all(batch);
    world.settle(settle(a, 1, Seq(1), dead(true)));
    let (first, second) = (world.now.plus(Duration::from_mins(10)), world.now.plus(Duration::from_mins(20)));
    assert!(matches!(overdue(&mut world, "flow-e1"), Receipt::Stale), "not due");
    assert_eq!(world.reader().overdue(world.now, 9).unwrap(), (vec![], Some(first)));
    world.pass(Duration::from_mins(10));
    assert_eq!(
        world.reader().overdue(world.now, 9).unwrap(),
        (vec![("flow-e1".to_owned(), first)], Some(second))
    );

    let receipt = overdue(&mut world, "flow-e1");

    assert!(matches!(receipt, Receipt::Applied { flow: Some(flow), .. } if flow == "flow-e1"));
    assert!(matches!(overdue(&mut world, "flow-e1"), Receipt::Stale), "marked");
    assert!(matches!(overdue(&mut world, "flow-none"), Receipt::Stale), "unknown");
    assert_eq!(world.reader().overdue(world.now, 9).unwrap(), (vec![], Some(second)));
    let flow = world.reader().flow("flow-e1").unwrap().unwrap();
    assert_eq!((flow.deadline, flow.overdue, flow.open), (Some(first), Some(world.now), 1));
    world.repair(a, Seq(1), false);
    assert!(world.reader().flow("flow-e1").unwrap().unwrap().overdue.is_some(), "the mark stays");
    world.finish();
}

/// A flow at rest by its deadline is never marked; woken before it, it is watched again, woken after it not.
pub fn a_flow_at_rest_is_never_overdue(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let batch = vec![timed(&world, "e1", &[a], 10), timed(&world, "unheard", &[], 10)];
    world.publish_all(batch);
    let deadline = world.now.plus(Duration::from_mins(10));
    world.settle(settle(a, 1, Seq(1), Outcome::Done));
    assert_eq!(world.reader().overdue(Timestamp(u64::MAX), 9).unwrap(), (vec![], None));

    world.publish("e1-again", &[a]);
    assert_eq!(world.reader().overdue(world.now, 9).unwrap(), (vec![], Some(deadline)));
    world.settle(settle(a, 2, Seq(3), Outcome::Done));
    world.pass(Duration::from_mins(11));
    world.publish("e1-late", &[a]);

    assert_eq!(world.reader().overdue(world.now, 9).unwrap(), (vec![], None));
    assert!(matches!(overdue(&mut world, "flow-e1"), Receipt::Stale));
    world.finish();
}

/// Later events of a flow do not move its deadline.
pub fn the_deadline_is_that_of_the_first_event(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let first = world.now.plus(Duration::from_mins(10));
    for (id, minutes) in [("e1", 10), ("e1-b", 5), ("e1-c", 50)] {
        let event = timed(&world, id, &[a], minutes);
        world.publish_all(vec![event]);
    }
    world.publish("plain", &[a]);
    let late = timed(&world, "plain-b", &[a], 5);
    world.publish_all(vec![late]);

    assert_eq!(world.reader().overdue(world.now, 9).unwrap(), (vec![], Some(first)));
    assert_eq!(world.reader().flow("flow-plain").unwrap().unwrap().deadline, None);
    world.finish();
}
