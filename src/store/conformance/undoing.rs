//! Promises about undoing a flow.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::kit::{World, dead, envelope, routed, settle};
use crate::event::{COMPENSATION, Envelope};
use crate::store::{
    Change, Compensate, CompensationState, Ordinal, Outcome, Receipt, Routed, Seq, Settle, Shelf,
    SubscriptionId,
};

const FLOW: &str = "flow-e1";

/// An undo of the flow of its id.
pub fn undo(id: &str) -> Envelope {
    let mut event = envelope(id);
    event.extensions.insert(COMPENSATION.to_owned(), "1".to_owned());
    event
}

fn done(subscription: SubscriptionId, ordinal: u64, undos: &[&str]) -> Settle {
    let undos = undos.iter().map(|id| Arc::new(undo(id))).collect();
    Settle { undos, ..settle(subscription, ordinal, Seq(ordinal), Outcome::Done) }
}

fn begin(world: &mut World<'_>) -> Receipt {
    let (flow, by, reason) = (FLOW.to_owned(), "ann".to_owned(), "no money".to_owned());
    world.apply(Change::Compensate(Compensate::Begin { flow, by, reason }))
}

fn next(world: &mut World<'_>, id: &str, routes: &[SubscriptionId]) -> Receipt {
    let undo = Routed::new(Arc::new(undo(id)), routes.to_vec());
    world.apply(Change::Compensate(Compensate::Next { flow: FLOW.to_owned(), undo }))
}

fn end(world: &mut World<'_>) -> Receipt {
    world.apply(Change::Compensate(Compensate::End { flow: FLOW.to_owned() }))
}

fn is_stale(receipt: &Receipt) -> bool {
    matches!(receipt, Receipt::Stale)
}

fn listed(world: &World<'_>) -> Vec<String> {
    let kept = world.reader().kept(Shelf::Compensation, "", None, 9).unwrap();
    kept.into_iter().map(|(_, flow)| String::from_utf8(flow.to_vec()).unwrap()).collect()
}

/// Undos are kept with the settle and emitted one at a time, the last one first.
pub fn undos_are_kept_and_emitted_the_last_one_first(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish_all(vec![routed("e1", &[a]), routed("e1-b", &[a])]);
    world.settle(done(a, 1, &["e1-u1", "e1-u2"]));
    world.settle(done(a, 2, &["e1-u3"]));
    assert!(is_stale(&next(&mut world, "e1-u3", &[a])) && is_stale(&end(&mut world)), "not asked for");

    assert!(matches!(begin(&mut world), Receipt::Applied { flow: Some(flow), .. } if flow == FLOW));
    assert!(is_stale(&begin(&mut world)), "once");
    assert_eq!(listed(&world), [FLOW]);
    assert_eq!(world.reader().flow(FLOW).unwrap().unwrap().rest_since, None, "not at rest on its way back");

    for (ordinal, id) in [(3, "e1-u3"), (4, "e1-u2"), (5, "e1-u1")] {
        let undoing = world.reader().undoing(FLOW).unwrap().unwrap();
        assert_eq!(undoing.next.unwrap().id, id);
        assert!(is_stale(&next(&mut world, "e1-other", &[a])) && is_stale(&end(&mut world)));
        let receipt = next(&mut world, id, &[a]);
        assert!(matches!(receipt, Receipt::Applied { appended, .. } if appended[0].event.id == id));
        let undoing = world.reader().undoing(FLOW).unwrap().unwrap();
        assert_eq!((undoing.record.open, undoing.open.len(), undoing.open[0].is_undo), (1, 1, true));
        let following = undoing.next.map(|event| event.id.clone()).unwrap_or_default();
        assert!(is_stale(&next(&mut world, &following, &[a])), "the one before is open");
        world.settle(done(a, ordinal, &["e1-undo-of-an-undo"]));
    }
    world.pass(Duration::from_mins(1));
    assert!(matches!(end(&mut world), Receipt::Applied { .. }));

    let flow = world.reader().flow(FLOW).unwrap().unwrap();
    let back = flow.compensation.unwrap();
    assert_eq!((back.state, back.undone, back.left), (CompensationState::Done, 3, 0));
    assert_eq!((back.by.as_str(), back.reason.as_str()), ("ann", "no money"));
    assert_eq!((flow.open, flow.rest_since), (0, Some(world.now)));
    assert!(world.reader().undoing(FLOW).unwrap().is_none() && listed(&world).is_empty());
    assert!(is_stale(&begin(&mut world)), "only once in a flow's life");
    world.finish();
}

/// A dead letter of the undoing makes it stuck; the rest of the flow stays open beside it.
pub fn a_dead_undo_makes_its_flow_stuck(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let (a, b) = (world.subscribe("a"), world.subscribe("b"));
    world.publish_all(vec![routed("e1", &[a, b])]);
    world.settle(done(a, 1, &["e1-u1"]));
    begin(&mut world);
    next(&mut world, "e1-u1", &[a]);

    world.settle(settle(a, 2, Seq(2), dead(true)));

    let undoing = world.reader().undoing(FLOW).unwrap().unwrap();
    assert!(undoing.record.is_stuck());
    let open: Vec<_> =
        undoing.open.iter().map(|open| (open.subscription, open.ordinal, open.is_undo)).collect();
    assert_eq!(open, [(b, Some(Ordinal(1)), false), (a, Some(Ordinal(2)), true)]);
    assert!(is_stale(&end(&mut world)));
    world.repair(a, Seq(2), false);
    assert!(!world.reader().undoing(FLOW).unwrap().unwrap().record.is_stuck());
    assert!(matches!(end(&mut world), Receipt::Applied { .. }));
    assert_eq!(listed(&world), [FLOW], "until what is open of it is through");
    world.settle(settle(b, 1, Seq(1), Outcome::Skipped { reason: "undone".to_owned() }));
    assert!(listed(&world).is_empty());
    world.finish();
}

/// The point of no return drops what was recorded and refuses the way back.
pub fn a_pivot_is_the_point_of_no_return(engine: &mut dyn Engine) {
    pass_pivot(engine, false);
}

/// A way back that has begun is called off by an attempt that passes the point of no return.
pub fn a_pivot_calls_off_a_way_back_that_has_undone_nothing(engine: &mut dyn Engine) {
    pass_pivot(engine, true);
}

fn pass_pivot(engine: &mut dyn Engine, is_late: bool) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish_all(vec![routed("e1", &[a]), routed("e1-b", &[a]), routed("e1-c", &[a])]);
    world.settle(done(a, 1, &["e1-u1"]));
    if is_late {
        begin(&mut world);
    }

    world.settle(Settle { pivot: true, ..done(a, 2, &["e1-u2"]) });
    world.settle(done(a, 3, &["e1-u3"]));

    assert!(is_stale(&begin(&mut world)));
    let flow = world.reader().flow(FLOW).unwrap().unwrap();
    let state = flow.compensation.map(|back| back.state);
    assert_eq!(state, is_late.then_some(CompensationState::CalledOff));
    assert!(flow.rest_since.is_some() && listed(&world).is_empty());
    assert!(world.reader().undoing(FLOW).unwrap().is_none());
    world.finish();
}

/// A flow on its way back never expires; one that is back expires, and one with undos left as well.
pub fn a_flow_on_its_way_back_never_expires(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish_all(vec![routed("e1", &[a]), routed("e2", &[a])]);
    world.settle(done(a, 1, &[]));
    world.settle(done(a, 2, &["e2-u1"]));
    begin(&mut world);

    world.pass_and_maintain(Duration::from_hours(3));
    assert!(world.reader().flow(FLOW).unwrap().is_some());
    assert!(world.reader().flow("flow-e2").unwrap().is_none());
    end(&mut world);
    world.pass_and_maintain(Duration::from_hours(3));
    assert!(world.reader().flow(FLOW).unwrap().is_none());
    world.finish();
}
