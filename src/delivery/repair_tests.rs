//! A repair is told when its commit is on disk; what it changed can be read before that. Whatever the order, the
//! delivery is attempted once.

use super::desk::{Desk, FAILED, settings};
use super::simulation::Write;
use super::{Finish, Mended, Order, Settings, Verdict};
use crate::event::Timestamp;
use crate::store::{DeadReason, Ordinal};

/// A desk that has just started on a store with one dead letter, which a person has just had tried again: the
/// desk has read that, and is not told yet.
fn started_in_between(order: Order, how: Mended) -> Desk {
    let mut before = Desk::new(Settings { order, ..settings() });
    before.publish("a");
    before.run();
    before.finish(Ordinal(1), Finish::Dead(DeadReason::Fatal));
    before.store.apply(&Write::Repair(Ordinal(1), how));
    let mut desk = Desk::new(Settings { order, ..settings() });
    (desk.store, desk.now) = (before.store, before.now);
    desk.core.restore(desk.store.pending(true));
    desk.core.noticed(Ordinal(1));
    desk
}

#[test]
fn a_repair_that_is_told_after_it_was_read_starts_its_delivery_once() {
    for order in [Order::Key, Order::None] {
        // Told while it waits for a permit, while it runs, and when its outcome is not recorded yet.
        for told in ["held", "running", "ended"] {
            let mut desk = started_in_between(order, Mended::Again);
            if told == "held" {
                desk.core.appended(desk.store.arrival(Ordinal(1)));
            } else {
                desk.run();
            }
            if told == "ended" {
                let verdict = desk.core.finished(Ordinal(1), Finish::Done, desk.now);
                assert_eq!(verdict, Verdict::Done);
                desk.running.clear();
            }

            desk.core.repaired(Ordinal(1), "a", Mended::Again);
            desk.run();
            if told == "ended" {
                desk.store.apply(&Write::Settle(Ordinal(1), Verdict::Done));
                desk.core.settled(Ordinal(1));
            }
            desk.work(|_| Finish::Done);

            assert_eq!(desk.started(), [1], "{order:?}, {told}");
            desk.assert_empty();
        }
    }
}

#[test]
fn a_delay_by_hand_that_is_told_after_it_was_read_is_waited_for_once() {
    for order in [Order::Key, Order::None] {
        let due = Mended::AgainAt(Timestamp(2_000_000));
        let mut desk = started_in_between(order, due);
        desk.run();

        desk.core.repaired(Ordinal(1), "a", due);
        desk.run();
        assert_eq!((desk.started(), desk.core.waiting()), (vec![], 1), "{order:?}");
        desk.sleep();
        desk.work(|_| Finish::Done);

        assert_eq!(desk.started(), [1], "{order:?}");
        desk.assert_empty();
    }
}

#[test]
fn what_dies_again_after_such_a_repair_can_be_repaired_again() {
    for order in [Order::Key, Order::None] {
        let mut desk = started_in_between(order, Mended::Again);
        desk.run();
        desk.core.repaired(Ordinal(1), "a", Mended::Again);
        desk.work(|_| Finish::Dead(DeadReason::Fatal));
        assert_eq!(desk.started(), [1]);

        desk.repair(Ordinal(1), true);
        desk.work(|start| if start.attempt < 5 { FAILED } else { Finish::Done });
        while desk.core.waiting() > 0 {
            desk.sleep();
            desk.work(|start| if start.attempt < 5 { FAILED } else { Finish::Done });
        }

        assert_eq!(desk.through(), 1, "{order:?}: {:?}", desk.started());
        desk.assert_empty();
    }
}

#[test]
fn what_lay_aside_before_the_start_and_died_since_can_be_repaired() {
    // The store lists the first that lies aside of a key: the second is over all that the core knows of.
    let mut desk = Desk::new(settings());
    for _ in 0..2 {
        desk.store_only("a");
    }
    for aside in [1, 2] {
        desk.store.apply(&Write::Defer(Ordinal(aside)));
    }
    desk.core.restore(desk.store.pending(false));
    desk.work(|start| match start.ordinal {
        Ordinal(1) => Finish::Done,
        _ => Finish::Dead(DeadReason::Fatal),
    });

    // The queue has it again, and is read, before the core is told of the repair.
    desk.store.apply(&Write::Repair(Ordinal(2), Mended::Again));
    desk.core.noticed(Ordinal(2));
    let mut questions = Vec::new();
    desk.core.poll(desk.now, &mut questions);
    for question in questions {
        desk.carry_out(question);
    }
    desk.core.repaired(Ordinal(2), "a", Mended::Again);
    desk.work(|_| Finish::Done);

    assert_eq!((desk.started(), desk.through()), (vec![1, 2, 2], 2));
    desk.assert_empty();
}
