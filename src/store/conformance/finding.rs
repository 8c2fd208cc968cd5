//! Promises about finding events and flows.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::kit::{World, dead, envelope, settle};
use crate::event::EventName;
use crate::store::{
    EventQuery, FlowQuery, FoundEvent, FoundFlow, Outcome, Reader, Routed, Seq, Standing, SubscriptionId,
};

/// An event of a flow with a name and a key.
fn named(id: &str, name: &str, key: &str, routes: &[SubscriptionId]) -> Routed {
    let mut event = envelope(id);
    event.name = EventName::new(name).unwrap();
    key.clone_into(&mut event.key);
    Routed::new(Arc::new(event), routes.to_vec())
}

/// All pages of a search for events.
pub fn all_events(reader: &dyn Reader, query: &EventQuery, page: usize) -> Vec<FoundEvent> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let found = reader.find_events(query, before, page).unwrap();
        assert!(found.items.len() <= page, "a page holds no more than was asked for");
        all.extend(found.items);
        match found.next {
            Some(next) => assert!(before.replace(next).is_none_or(|before| next < before), "it goes on"),
            None => return all,
        }
    }
}

/// All pages of a search for flows.
pub fn all_flows(reader: &dyn Reader, query: &FlowQuery, page: usize) -> Vec<FoundFlow> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let found = reader.find_flows(query, before, page).unwrap();
        assert!(found.items.len() <= page, "a page holds no more than was asked for");
        all.extend(found.items);
        match found.next {
            Some(next) => assert!(before.replace(next).is_none_or(|before| next < before), "it goes on"),
            None => return all,
        }
    }
}

/// Every search there is, compared with looking at everything; one line for each thing found.
pub fn searches(reader: &dyn Reader) -> Vec<String> {
    let events = all_events(reader, &EventQuery::default(), 7);
    let known = (1..=reader.stats().events).rev().map(Seq);
    let known: Vec<_> = known.filter_map(|seq| reader.event(seq).unwrap()).collect();
    assert_eq!(events.iter().map(|found| &found.event).collect::<Vec<_>>(), known.iter().collect::<Vec<_>>());
    let mut lines: Vec<String> = events.iter().map(|found| format!("{found:?}")).collect();
    let some = |texts: Vec<String>| {
        let mut some: Vec<Option<String>> = texts.into_iter().map(Some).collect();
        some.sort();
        some.dedup();
        some.push(None);
        some
    };
    let names = some(events.iter().map(|found| found.event.name.to_string()).collect());
    let keys = some(events.iter().map(|found| found.key.clone()).collect());
    for (name, key) in names.iter().flat_map(|name| keys.iter().map(move |key| (name, key))) {
        let agrees = |found: &&FoundEvent| {
            name.as_ref().is_none_or(|name| found.event.name.as_str() == name)
                && key.as_ref().is_none_or(|key| found.key == *key)
        };
        let expected: Vec<_> = events.iter().filter(agrees).collect();
        let query = EventQuery { name: name.clone(), key: key.clone(), ..EventQuery::default() };
        let found = all_events(reader, &query, 5);
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query:?}");
        let mut flows: Vec<_> = expected.iter().map(|found| found.event.flow.clone()).collect();
        flows.sort();
        flows.dedup();
        for standing in [None, Some(Standing::Open), Some(Standing::Rest), Some(Standing::Dead)] {
            let query = FlowQuery { standing, name: name.clone(), key: key.clone(), ..FlowQuery::default() };
            let stands = |flow: &String| {
                let flow = reader.flow(flow).unwrap().unwrap();
                match standing {
                    None => true,
                    Some(Standing::Open) => flow.open > 0,
                    Some(Standing::Rest) => flow.open == 0,
                    Some(Standing::Dead) => flow.dead > 0,
                }
            };
            let mut found: Vec<_> =
                all_flows(reader, &query, 3).into_iter().map(|found| found.flow).collect();
            lines.push(format!("{query:?} {found:?}"));
            found.sort();
            assert_eq!(
                found,
                flows.iter().filter(|flow| stands(flow)).cloned().collect::<Vec<_>>(),
                "{query:?}"
            );
        }
    }
    lines
}

/// Events are found by name, key, flow and time, the newest first, page by page.
pub fn events_are_found_by_what_is_known_of_them(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let start = world.now;
    for n in 1..=900_u64 {
        world.pass(Duration::from_secs(3));
        let (name, key) = (format!("n.{}", n % 3), format!("k{}", n % 40));
        world.publish_all(vec![named(&format!("f{}-{n}", n / 4), &name, &key, &[])]);
    }
    let reader = world.reader();
    let found = |query: EventQuery| -> Vec<u64> {
        all_events(&*reader, &query, 50).iter().map(|found| found.event.seq.0).collect()
    };
    let expected = |is: &dyn Fn(u64) -> bool| (1..=900).rev().filter(|n| is(*n)).collect::<Vec<_>>();
    let (name, key) = (Some("n.1".to_owned()), Some("k7".to_owned()));

    let by = EventQuery::default;
    assert_eq!(found(by()), expected(&|_| true));
    assert_eq!(found(EventQuery { name: name.clone(), ..by() }), expected(&|n| n % 3 == 1));
    assert_eq!(found(EventQuery { key: key.clone(), ..by() }), expected(&|n| n % 40 == 7));
    let both = EventQuery { name: name.clone(), key, ..by() };
    assert_eq!(found(both), expected(&|n| n % 40 == 7 && n % 3 == 1));
    let flow = Some("flow-f9".to_owned());
    assert_eq!(found(EventQuery { flow: flow.clone(), ..by() }), [39, 38, 37, 36]);
    assert_eq!(found(EventQuery { name, flow, ..by() }), [37]);
    let at = |n: u64| Some(start.plus(Duration::from_secs(3 * n)));
    assert_eq!(
        found(EventQuery { since: at(200), until: at(300), ..by() }),
        expected(&|n| (200..300).contains(&n))
    );
    let late = EventQuery { since: at(880), name: Some("n.0".to_owned()), ..by() };
    assert_eq!(found(late), expected(&|n| n >= 880 && n % 3 == 0));
    assert_eq!(found(EventQuery { since: at(901), ..by() }), [0; 0]);
    assert_eq!(found(EventQuery { until: Some(start), ..by() }), [0; 0]);
    assert_eq!(found(EventQuery { key: Some("nobody".to_owned()), ..by() }), [0; 0]);
    assert_eq!(reader.find_events(&by(), Some(Seq(5)), 2).unwrap().next, Some(Seq(3)));
    drop(reader);
    world.finish();
}

/// Flows are found by where they stand, and by name, key and time of their events, each at one place.
pub fn flows_are_found_by_what_is_known_of_them(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    let start = world.now;
    for n in 1..=8 {
        world.pass(Duration::from_mins(5));
        let (flow, key) = (format!("f{n}-first"), format!("k{}", n % 2));
        world.publish_all(vec![named(&flow, "n.first", &key, &[a])]);
        world.publish_all(vec![named(&format!("f{n}-then"), "n.then", "other", &[])]);
        world.publish_all(vec![named(&format!("f{n}-last"), "n.last", &key, &[])]);
    }
    let seq = |n: u64| Seq(3 * n - 2);
    world.settle(settle(a, 2, seq(2), dead(false)));
    world.settle(settle(a, 3, seq(3), Outcome::Done));
    world.settle(settle(a, 4, seq(4), Outcome::Skipped { reason: "none".to_owned() }));
    world.settle(settle(a, 7, seq(7), dead(false)));
    let reader = world.reader();
    let found = |query: FlowQuery| -> Vec<String> {
        all_flows(&*reader, &query, 2).into_iter().map(|found| found.flow).collect()
    };
    let flows = |numbers: &[u64]| numbers.iter().map(|n| format!("flow-f{n}")).collect::<Vec<_>>();
    let by = FlowQuery::default;
    let standing = |standing| FlowQuery { standing: Some(standing), ..by() };

    assert_eq!(found(by()), flows(&[8, 7, 6, 5, 4, 3, 2, 1]));
    assert_eq!(found(standing(Standing::Open)), flows(&[8, 7, 6, 5, 2, 1]));
    assert_eq!(found(standing(Standing::Rest)), flows(&[4, 3]));
    assert_eq!(found(standing(Standing::Dead)), flows(&[7, 2]));
    let odd = FlowQuery { key: Some("k1".to_owned()), ..by() };
    assert_eq!(found(odd.clone()), flows(&[7, 5, 3, 1]));
    assert_eq!(found(FlowQuery { standing: Some(Standing::Dead), ..odd.clone() }), flows(&[7]));
    let then = FlowQuery { name: Some("n.then".to_owned()), ..by() };
    assert_eq!(found(then.clone()).len(), 8);
    assert_eq!(
        found(FlowQuery { key: Some("k1".to_owned()), ..then.clone() }),
        flows(&[]),
        "one event has both"
    );
    assert_eq!(found(FlowQuery { standing: Some(Standing::Open), ..then }), flows(&[8, 7, 6, 5, 2, 1]));
    let at = |n: u64| Some(start.plus(Duration::from_mins(5 * n)));
    assert_eq!(found(FlowQuery { since: at(3), until: at(6), ..by() }), flows(&[5, 4, 3]));
    assert_eq!(found(FlowQuery { since: at(6), ..odd }), flows(&[7]));
    let first = &reader.find_flows(&by(), None, 1).unwrap().items[0];
    assert_eq!((first.first.event.seq, first.first.key.as_str()), (seq(8), "k0"));

    world.repair(a, seq(2), false);
    world.repair(a, seq(7), true);
    assert_eq!(found(standing(Standing::Dead)), flows(&[]));
    assert_eq!(found(standing(Standing::Rest)), flows(&[4, 3, 2]));
    drop(reader);
    world.finish();
}

/// What has expired is found no more, and neither a flow that begins anew nor what is left over loses by it.
pub fn what_has_expired_is_found_no_more(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    world.publish_all((1..=700).map(|n| named(&format!("f{n}-e"), "n.some", "k", &[])).collect());
    world.publish_all(vec![named("open-e", "n.some", "k", &[a])]);
    world.publish_all((1..=200).map(|n| named(&format!("long-{n}"), "n.some", "k", &[])).collect());

    world.pass_and_maintain(Duration::from_hours(2));

    let by_key = EventQuery { key: Some("k".to_owned()), ..EventQuery::default() };
    let found = all_events(&*world.reader(), &by_key, 10);
    assert_eq!(found.iter().map(|found| found.event.id.as_str()).collect::<Vec<_>>(), ["open-e"]);
    let flows = all_flows(&*world.reader(), &FlowQuery::default(), 10);
    assert_eq!(flows.iter().map(|found| found.flow.as_str()).collect::<Vec<_>>(), ["flow-open"]);
    world.publish_all(vec![named("f1-again", "n.some", "k", &[a])]);
    let open = FlowQuery { standing: Some(Standing::Open), ..FlowQuery::default() };
    let flows = all_flows(&*world.reader(), &open, 1);
    assert_eq!(flows.iter().map(|found| found.flow.as_str()).collect::<Vec<_>>(), ["flow-f1", "flow-open"]);
    assert_eq!(flows[0].first.event.id, "f1-again");
    assert_eq!(all_events(&*world.reader(), &by_key, 10).len(), 2);
    world.finish();
}

/// One call does a bounded amount of work: what is rare is found after some calls that may answer nothing.
pub fn a_search_is_bounded_and_goes_on_where_it_ended(engine: &mut dyn Engine) {
    let mut world = World::new(engine);
    world.publish_all(vec![named("rare-1", "n.some", "k", &[])]);
    for part in 0..12 {
        let id = |n: usize| format!("f{part}x{n}-e");
        world.publish_all((0..1_000).map(|n| named(&id(n), "n.some", "", &[])).collect());
    }
    let rare =
        EventQuery { key: Some(String::new()), name: Some("n.some".to_owned()), ..EventQuery::default() };
    let with_key = FlowQuery {
        name: Some("n.some".to_owned()),
        key: None,
        until: Some(world.now),
        ..FlowQuery::default()
    };

    let all = all_events(&*world.reader(), &rare, 500);
    let none = world.reader().find_flows(&with_key, None, 500).unwrap();

    assert_eq!(all.len(), 12_000, "the key is compared, the name leads");
    assert!(none.items.is_empty() && none.next.is_some_and(|next| next < Seq(9_000)), "{:?}", none.next);
    assert_eq!(all_flows(&*world.reader(), &with_key, 500), []);
    world.finish();
}
