//! Promises about what goes along with a change: facts, records of the bus's own, other changes.

use std::time::Duration;

use bytes::Bytes;

use super::Engine;
use super::kit::{World, dead, routed, settle};
use crate::event::{Fact, Timestamp};
use crate::store::{Change, Receipt, Repair, RepairAct, Routed, Seq, Shelf, SubscriptionId};

fn fact(identity: &str, routes: &[SubscriptionId]) -> Routed {
    let fact = Fact::new("tidegate.dead_letter.retried", &[identity], &"data").unwrap();
    Routed::new(fact.event(Timestamp(1)).unwrap().into(), routes.to_vec())
}

fn keep(shelf: Shelf, name: &str, value: Option<&str>) -> Change {
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    Change::Keep { shelf, name: name.to_owned(), value }
}

fn retrying(subscription: SubscriptionId, seq: Seq) -> Box<Change> {
    Box::new(Change::Repair(Repair {
        subscription,
        seq,
        act: RepairAct::Retry { due: None },
        reason: "by test".to_owned(),
        by: String::new(),
    }))
}

/// A fact is stored if and only if its change applies, enters its queues with it, and is stored once.
pub fn a_fact_is_stored_with_its_change_or_not_at_all(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let (work, watch) = (world.subscribe("work"), world.subscribe("watch"));
    let seq = world.publish("e1", &[work]);
    let told =
        |identity: &str| Change::With { change: retrying(work, seq), facts: vec![fact(identity, &[watch])] };

    let early = world.apply(told("early"));
    world.settle(settle(work, 1, seq, dead(true)));
    let retried = world.apply(told("retried"));
    let late = world.apply(told("late"));
    world.settle(settle(work, 1, seq, dead(true)));
    let again = world.apply(told("retried"));

    assert!(matches!((&early, &late), (Receipt::Stale, Receipt::Stale)), "{early:?}, {late:?}");
    let Receipt::Applied { appended, flow, .. } = retried else { panic!("{retried:?}") };
    assert_eq!(flow.as_deref(), Some("flow-e1"), "the receipt is that of the change");
    let places: Vec<_> = appended.iter().map(|append| (append.seq, append.places[0].0)).collect();
    assert_eq!(places, [(seq, work), (Seq(2), watch)]);
    let Receipt::Applied { appended, .. } = again else { panic!("{again:?}") };
    assert_eq!(appended.len(), 1, "the change is done, its fact is known");
    assert_eq!(world.reader().stats().events, 2);
    assert_eq!(world.queue(watch), [1]);
    world.finish();
}

/// What goes along with a change is done if and only if the change applies, in the same commit.
pub fn what_goes_along_is_done_with_its_change_or_not_at_all(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let (work, watch) = (world.subscribe("work"), world.subscribe("watch"));
    let seq = world.publish("e1", &[work]);
    let both = || Change::Along {
        change: retrying(work, seq),
        along: vec![keep(Shelf::Job, "j", Some("1")), Change::Publish(vec![routed("e2", &[watch])])],
    };

    let early = world.apply(both());
    assert!(matches!(early, Receipt::Stale));
    assert_eq!(world.reader().kept_one(Shelf::Job, "j").unwrap(), None);
    world.settle(settle(work, 1, seq, dead(true)));
    let done = world.apply(both());

    let Receipt::Applied { appended, commit, .. } = done else { panic!("{done:?}") };
    assert_eq!(appended.iter().map(|append| append.seq).collect::<Vec<_>>(), [seq, Seq(2)]);
    assert_eq!(world.reader().event(Seq(2)).unwrap().unwrap().commit, commit);
    assert_eq!(world.reader().kept_one(Shelf::Job, "j").unwrap(), Some(Bytes::from("1")));
    world.finish();
}

/// A record is found under its shelf and name only, in the order of names, until it is deleted.
pub fn records_of_the_bus_are_kept_by_shelf_and_name(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let applies = |world: &mut World<'_>, change| matches!(world.apply(change), Receipt::Applied { .. });
    for (shelf, name, value) in [
        (Shelf::Job, "b", "1"),
        (Shelf::Job, "a", "2"),
        (Shelf::Job, "ab", "3"),
        (Shelf::JobItem, "a", "4"),
        (Shelf::Job, "b", "5"),
        (Shelf::Schedule, "", "6"),
    ] {
        assert!(applies(&mut world, keep(shelf, name, Some(value))));
    }
    assert!(applies(&mut world, keep(Shelf::JobItem, "none", None)), "deleting nothing is no problem");
    let large = "x".repeat(Shelf::VALUE_MAX + 1);
    assert!(!applies(&mut world, keep(Shelf::Job, "large", Some(&large))));
    assert!(!applies(&mut world, keep(Shelf::Job, &"n".repeat(1_025), Some("long"))));

    let reader = world.reader();
    let kept = |shelf, prefix: &str, after: Option<&str>, limit| {
        let kept = reader.kept(shelf, prefix, after, limit).unwrap();
        kept.iter().map(|(name, value)| format!("{name}={}", value.escape_ascii())).collect::<Vec<_>>()
    };
    assert_eq!(kept(Shelf::Job, "", None, 9), ["a=2", "ab=3", "b=5"]);
    assert_eq!(kept(Shelf::Job, "", None, 2), ["a=2", "ab=3"]);
    assert_eq!(kept(Shelf::Job, "", Some("ab"), 9), ["b=5"]);
    assert_eq!(kept(Shelf::Job, "a", None, 9), ["a=2", "ab=3"]);
    assert_eq!(kept(Shelf::Job, "b", Some("a"), 9), ["b=5"], "`after` may come before the prefix");
    assert_eq!(kept(Shelf::JobItem, "", None, 9), ["a=4"]);
    assert_eq!(kept(Shelf::Schedule, "", None, 9), ["=6"]);
    assert_eq!(kept(Shelf::Bus, "", None, 9), [""; 0]);
    assert_eq!(reader.kept_one(Shelf::Job, "b").unwrap(), Some(Bytes::from("5")));
    assert_eq!(reader.kept_one(Shelf::JobItem, "b").unwrap(), None);
    drop(reader);

    assert!(applies(&mut world, keep(Shelf::Job, "a", None)));
    assert_eq!(world.reader().kept_one(Shelf::Job, "a").unwrap(), None);
    world.pass_and_maintain(Duration::from_hours(100));
    assert_eq!(world.reader().kept(Shelf::Job, "", None, 9).unwrap().len(), 2, "they do not expire");
    world.finish();
}

/// Facts are listed apart from other events, the newest first, page by page, as long as their status lasts.
pub fn facts_are_listed_newest_first_until_they_expire(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let watch = world.subscribe("watch");
    for n in 1..=3 {
        world.publish(&format!("e{n}"), &[]);
        let routes: &[SubscriptionId] = if n == 2 { &[watch] } else { &[] };
        let facts = vec![fact(&n.to_string(), routes)];
        world.apply(Change::With { change: Box::new(keep(Shelf::Job, "j", Some("1"))), facts });
    }
    let listed = |world: &World<'_>, before: Option<u64>, limit| {
        let facts = world.reader().facts(before.map(Seq), limit).unwrap();
        facts.iter().map(|fact| fact.seq.0).collect::<Vec<_>>()
    };

    assert_eq!(listed(&world, None, 9), [6, 4, 2]);
    assert_eq!(listed(&world, None, 2), [6, 4]);
    assert_eq!(listed(&world, Some(4), 9), [2]);
    world.pass_and_maintain(Duration::from_hours(2));
    assert_eq!(listed(&world, None, 9), [4], "what somebody still has to hear stays");
    world.finish();
}
