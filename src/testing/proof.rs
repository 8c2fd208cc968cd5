//! Proof: a flow under every crash and every duplicate comes to the same end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use super::{CrashPoint, Harness};
use crate::store::Seq;

/// Group commits after which a flow that never comes to its end is given up.
const GROUPS_MAX: u64 = 2_000;
/// Seeds of the orders in which attempts end.
const SEEDS: std::ops::Range<u64> = 1..9;

/// What was run to prove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// Crashes, each before and after one of the flow's group commits.
    pub crashes: u64,
    /// Runs in which every attempt ran twice, or attempts ended in another order.
    pub disturbed: u64,
}

/// Runs a flow undisturbed, then once for every point at which the process can die, with every attempt run
/// twice, and with attempts that end in other orders; demands the same end each time.
///
/// `make` builds a new harness; `flow` publishes and lets time pass, and answers what the world outside
/// looks like then (a ledger, a mailbox), which has to be the same as well. A crash between a call to the
/// outside and its record repeats the call, so the world is compared as it is after repeats: by effect key.
///
/// The end is: every event with its id, name and data; every state; every flow's status and result; every
/// dead letter.
///
/// # Panics
/// With both ends, and the timelines, when they differ.
pub fn prove_idempotent<W: PartialEq + Debug>(
    make: impl Fn() -> Harness,
    flow: impl Fn(&mut Harness) -> W,
) -> Proof {
    let undisturbed = run(&make, &flow, |_| {});
    let mut proof = Proof { crashes: 0, disturbed: 0 };
    for point in [CrashPoint::BeforeGroup as fn(u64) -> CrashPoint, CrashPoint::AfterGroup] {
        for group in 1..=GROUPS_MAX {
            let crash = point(group);
            let mut is_over = false;
            let disturbed =
                run_to(&make, &flow, |h| h.crash_at(crash.clone()), &mut |h| is_over = h.is_planned());
            assert_same(&undisturbed, &disturbed, &format!("a crash {crash:?}"));
            if is_over {
                break;
            }
            proof.crashes += 1;
        }
    }
    assert_same(&undisturbed, &run(&make, &flow, |h| h.duplicate(1, 100)), "every attempt twice");
    proof.disturbed += 1;
    for seed in SEEDS {
        let disturbed = run(&make, &flow, |h| {
            h.duplicate(seed, 30);
            h.shuffle(seed);
        });
        assert_same(&undisturbed, &disturbed, &format!("seed {seed}"));
        proof.disturbed += 1;
    }
    proof
}

/// How a flow has ended.
struct End<W> {
    picture: BTreeMap<String, String>,
    world: W,
    timelines: String,
}

fn run<W>(
    make: impl Fn() -> Harness,
    flow: impl Fn(&mut Harness) -> W,
    disturb: impl FnOnce(&mut Harness),
) -> End<W> {
    run_to(make, flow, disturb, &mut |_| {})
}

fn run_to<W>(
    make: impl Fn() -> Harness,
    flow: impl Fn(&mut Harness) -> W,
    disturb: impl FnOnce(&mut Harness),
    look: &mut dyn FnMut(&Harness),
) -> End<W> {
    let mut h = make();
    h.endure_crashes();
    h.run_until_idle();
    disturb(&mut h);
    let world = flow(&mut h);
    h.run_until_idle();
    look(&h);
    End { picture: picture(&h), world, timelines: h.timelines() }
}

/// Everything that has to be the same, each thing under its name.
fn picture(h: &Harness) -> BTreeMap<String, String> {
    let reader = h.bus().reader();
    let mut picture = BTreeMap::new();
    let (mut flows, mut states) = (BTreeSet::new(), BTreeSet::new());
    for event in (1..).map(|seq| reader.event(Seq(seq))).map_while(|read| read.ok().flatten()) {
        let envelope = reader.envelope(event.seq).ok().flatten();
        let data = envelope.map(|e| String::from_utf8_lossy(&e.data).into_owned()).unwrap_or_default();
        picture.insert(format!("event {} {}", event.name, event.id), data);
        states.extend(event.deliveries.iter().filter_map(|d| Some((d.subscription, d.key.clone()?))));
        flows.insert(event.flow.clone());
    }
    for (subscription, key) in states {
        let state = reader.state(subscription, &key).ok().flatten().unwrap_or_default();
        picture
            .insert(format!("state {} {key}", subscription.0), String::from_utf8_lossy(&state).into_owned());
    }
    for flow in flows {
        let view = h.flow(&flow);
        let result = view.result.as_ref().map(|result| result.get().to_owned());
        picture.insert(format!("flow {flow}"), format!("{:?} {result:?} dead {}", view.status, view.dead));
    }
    for letter in h.dead_letters() {
        picture.insert(format!("dead {} {}", letter.subscription, letter.event), letter.reason);
    }
    picture
}

fn assert_same<W: PartialEq + Debug>(undisturbed: &End<W>, disturbed: &End<W>, how: &str) {
    let differing: Vec<String> = undisturbed
        .picture
        .keys()
        .chain(disturbed.picture.keys())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .filter(|name| undisturbed.picture.get(*name) != disturbed.picture.get(*name))
        .map(|name| {
            let (before, after) = (undisturbed.picture.get(name), disturbed.picture.get(name));
            format!("  {name}\n    undisturbed {before:?}\n    disturbed   {after:?}")
        })
        .collect();
    let is_same = differing.is_empty() && undisturbed.world == disturbed.world;
    assert!(
        is_same,
        "under {how} the flow comes to another end\n{}\n  outside undisturbed {:?}\n  outside disturbed   {:?}\n\
         --- undisturbed\n{}\n--- disturbed\n{}",
        differing.join("\n"),
        undisturbed.world,
        disturbed.world,
        undisturbed.timelines,
        disturbed.timelines
    );
}
