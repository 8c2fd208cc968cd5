//! The checker: compares what the oracle knows with what the store tells once everything is at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::app::{KEEP, Kept, LATER, fails_for_good};
use crate::record::{Acked, Effect};

/// What a restarted bus tells.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Observed {
    /// By event id; one that is not there is not known to the bus.
    pub(crate) events: BTreeMap<String, Seen>,
    /// What the steps remember, by subscription and key.
    pub(crate) states: BTreeMap<String, BTreeMap<String, Kept>>,
    /// Reads that were refused, with the reason: damage that was told.
    pub(crate) told: Vec<String>,
    /// What still moved when patience was over, by subscription.
    pub(crate) restless: Vec<String>,
    /// How much of the record and of the ledger there was then: a child goes on publishing once it has looked.
    pub(crate) acked: usize,
    /// The same of the ledger.
    pub(crate) effects: usize,
}

/// One event as the bus tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Deliveries of its flow that are not at rest, dead letters included.
    pub(crate) open: u64,
    /// Dead letters of its flow.
    pub(crate) dead: u64,
    /// Its payload.
    pub(crate) payload: Payload,
}

/// What became of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Payload {
    /// As it was published.
    Same,
    /// Something else.
    Changed,
    /// Said to be past its retention.
    Gone,
    /// The bus said why it cannot be read.
    Told,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// Acknowledged, and not there.
    Lost(String),
    /// There, with another payload.
    Changed(String),
    /// Its payload went while it was needed, or though nothing is removed in this run.
    Emptied(String),
    /// Not at rest, or at rest without its effect.
    Stuck(String),
    /// Two effects of one event in one subscription, or a state that has counted one twice.
    Duplicated(String),
    /// Effects of a key in another order than it was acknowledged in.
    Reordered(String),
    /// An effect of an event that is not stored.
    Phantom(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(what) => write!(f, "lost: {what}"),
            Self::Changed(what) => write!(f, "changed: {what}"),
            Self::Emptied(what) => write!(f, "emptied: {what}"),
            Self::Stuck(what) => write!(f, "stuck: {what}"),
            Self::Duplicated(what) => write!(f, "duplicated: {what}"),
            Self::Reordered(what) => write!(f, "reordered: {what}"),
            Self::Phantom(what) => write!(f, "phantom: {what}"),
        }
    }
}

/// What the store was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expect {
    /// Payloads of what is at rest may be gone.
    pub(crate) retention: bool,
    /// The paused subscription was resumed before this.
    pub(crate) later_done: bool,
}

/// Every promise that was broken, in order.
pub(crate) fn check(
    acked: &[Acked],
    effects: &[Effect],
    seen: &Observed,
    expect: Expect,
) -> BTreeSet<Violation> {
    let mut broken = BTreeSet::new();
    let done: BTreeSet<&str> = effects.iter().map(|effect| effect.id.as_str()).collect();
    broken.extend(seen.restless.iter().cloned().map(Violation::Stuck));
    for event in acked {
        broken.extend(event_problems(event, seen, done.contains(event.id.as_str()), expect));
    }
    for effect in effects.iter().filter(|effect| !seen.events.contains_key(&effect.id)) {
        if seen.told.is_empty() {
            broken.insert(Violation::Phantom(format!("{} has an effect and is not stored", effect.id)));
        }
    }
    broken.extend(effect_problems(effects));
    // Its effect may be entered and its outcome not: both are one only for the bus, and it cannot go on with it.
    let stuck =
        acked.iter().filter(|event| seen.events.get(&event.id).is_some_and(|s| is_stuck(event, s, expect)));
    let stuck: BTreeSet<&str> = stuck.map(|event| event.id.as_str()).collect();
    broken.extend(state_problems(effects, seen, &stuck));
    broken
}

/// Whether something of an event waits that should not.
fn is_stuck(event: &Acked, found: &Seen, expect: Expect) -> bool {
    (found.open, found.dead) != wanted(event, expect)
}

/// Deliveries and dead letters that an event has once everything is at rest.
fn wanted(event: &Acked, expect: Expect) -> (u64, u64) {
    match (event.later && !expect.later_done, fails_for_good(event.n)) {
        (true, _) => (1, 0),
        (false, true) => (1, 1),
        (false, false) => (0, 0),
    }
}

fn event_problems(event: &Acked, seen: &Observed, is_done: bool, expect: Expect) -> Vec<Violation> {
    let id = &event.id;
    let Some(found) = seen.events.get(id) else {
        // A read that was refused with its reason is no silence.
        let is_told = seen.told.iter().any(|told| told.contains(id.as_str()));
        return if is_told { Vec::new() } else { vec![Violation::Lost(id.clone())] };
    };
    let mut broken = Vec::new();
    let waits = event.later && !expect.later_done;
    let is_dead = fails_for_good(event.n);
    match found.payload {
        Payload::Changed => broken.push(Violation::Changed(id.clone())),
        Payload::Gone if !expect.retention || waits || is_dead => broken.push(Violation::Emptied(id.clone())),
        Payload::Same | Payload::Told | Payload::Gone => {}
    }
    let wanted = wanted(event, expect);
    if is_stuck(event, found, expect) {
        let (open, dead) = (found.open, found.dead);
        broken.push(Violation::Stuck(format!("{id}: {open} open and {dead} dead, expected {wanted:?}")));
    }
    if wanted == (0, 0) && !is_done {
        broken.push(Violation::Stuck(format!("{id} is at rest without its effect")));
    }
    broken
}

/// Twice, or in another order. An effect may come again only under its effect key, which the ledger holds once.
fn effect_problems(effects: &[Effect]) -> Vec<Violation> {
    let (mut broken, mut seen) = (Vec::new(), BTreeSet::new());
    let mut last: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for effect in effects {
        if !seen.insert((&effect.subscription, &effect.id)) {
            broken.push(Violation::Duplicated(format!("{} in {}", effect.id, effect.subscription)));
            continue;
        }
        let before = last.insert((&effect.subscription, &effect.key), effect.n);
        if before.is_some_and(|before| before > effect.n) {
            broken.push(Violation::Reordered(format!("{} in {}", effect.id, effect.subscription)));
        }
    }
    broken
}

/// The states that steps keep are those of the effects, one after the other. What is stuck need not be in them.
fn state_problems(effects: &[Effect], seen: &Observed, stuck: &BTreeSet<&str>) -> Vec<Violation> {
    let mut wanted: BTreeMap<&str, BTreeMap<&str, Kept>> = BTreeMap::new();
    let mut excused: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut once = BTreeSet::new();
    for effect in effects.iter().filter(|effect| once.insert((&effect.subscription, &effect.id))) {
        wanted.entry(&effect.subscription).or_default().entry(&effect.key).or_default().take(effect.n);
        *excused.entry((&effect.subscription, &effect.key)).or_default() +=
            u64::from(stuck.contains(effect.id.as_str()));
    }
    let excused =
        |subscription: &str, key: &str| excused.get(&(subscription, key)).copied().unwrap_or_default();
    // What `keep` and `later` emit is counted by `tally`: as many, in whatever order.
    let mut broken = Vec::new();
    for subscription in [KEEP, LATER] {
        for (key, wanted) in wanted.get(subscription).into_iter().flatten() {
            let found = seen.states.get(subscription).and_then(|states| states.get(*key));
            let found = found.cloned().unwrap_or_default();
            let name = format!("{key} of {subscription}: {} counted, {} effects", found.count, wanted.count);
            match found.count.cmp(&wanted.count) {
                std::cmp::Ordering::Less if found.count + excused(subscription, key) >= wanted.count => {}
                std::cmp::Ordering::Less => broken.push(Violation::Lost(name)),
                std::cmp::Ordering::Greater => broken.push(Violation::Duplicated(name)),
                std::cmp::Ordering::Equal if found.chain != wanted.chain => {
                    broken.push(Violation::Reordered(name));
                }
                std::cmp::Ordering::Equal => {}
            }
        }
    }
    broken.extend(tally_problems(&wanted, seen, |key| excused(KEEP, key) + excused(LATER, key)));
    broken
}

fn tally_problems(
    wanted: &BTreeMap<&str, BTreeMap<&str, Kept>>,
    seen: &Observed,
    excused: impl Fn(&str) -> u64,
) -> Vec<Violation> {
    let mut emitted: BTreeMap<&str, u64> = BTreeMap::new();
    for (key, kept) in wanted.values().flatten() {
        *emitted.entry(key).or_default() += kept.count;
    }
    let tallied = seen.states.get(crate::app::TALLY);
    let problem = |(key, wanted): (&str, u64)| {
        let found = tallied.and_then(|states| states.get(key)).map_or(0, |kept| kept.count);
        let name = format!("{key} of tally: {found} counted, {wanted} emitted");
        match found.cmp(&wanted) {
            std::cmp::Ordering::Less if found + excused(key) >= wanted => None,
            std::cmp::Ordering::Less => Some(Violation::Lost(name)),
            std::cmp::Ordering::Greater => Some(Violation::Duplicated(name)),
            std::cmp::Ordering::Equal => None,
        }
    };
    emitted.into_iter().filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::TALLY;

    const EXPECT: Expect = Expect { retention: false, later_done: false };

    fn acked(n: u64, later: bool) -> Acked {
        Acked { id: format!("k0-{n}"), key: "k0".into(), n, size: 100, later, began: 0 }
    }

    fn effect(n: u64) -> Effect {
        Effect {
            subscription: KEEP.into(),
            token: format!("e{n}"),
            id: format!("k0-{n}"),
            key: "k0".into(),
            n,
        }
    }

    /// Two events that are done, one that is dead, one that waits in the paused subscription.
    fn sound() -> (Vec<Acked>, Vec<Effect>, Observed) {
        let dead = (1..999).find(|n| fails_for_good(*n)).unwrap();
        let acked = vec![acked(1, false), acked(2, false), acked(dead, false), acked(dead + 1, true)];
        let effects = vec![effect(1), effect(2)];
        let mut kept = Kept::default();
        kept.take(1);
        kept.take(2);
        let counts = [(0, 0), (0, 0), (1, 1), (1, 0)];
        let events = acked
            .iter()
            .zip(counts)
            .map(|(event, (open, dead))| (event.id.clone(), Seen { open, dead, payload: Payload::Same }));
        let states = [(KEEP.to_owned(), kept.clone()), (TALLY.to_owned(), kept)]
            .into_iter()
            .map(|(name, kept)| (name, [("k0".to_owned(), kept)].into()));
        let seen = Observed { events: events.collect(), states: states.collect(), ..Observed::default() };
        (acked, effects, seen)
    }

    #[test]
    fn sound_books_have_no_problem() {
        let (acked, effects, seen) = sound();

        assert_eq!(check(&acked, &effects, &seen, EXPECT), BTreeSet::new());
    }

    type Doctor = fn(&mut Vec<Effect>, &mut Observed);

    #[test]
    fn everything_that_can_be_wrong_is_seen() {
        let doctored: [(&str, Doctor); 14] = [
            ("lost: k0-1", |_, seen| {
                seen.events.remove("k0-1");
            }),
            ("changed: k0-2", |_, seen| seen.events.get_mut("k0-2").unwrap().payload = Payload::Changed),
            ("emptied: k0-2", |_, seen| seen.events.get_mut("k0-2").unwrap().payload = Payload::Gone),
            ("stuck: k0-1", |_, seen| seen.events.get_mut("k0-1").unwrap().open = 1),
            ("stuck: k0-2", |_, seen| seen.events.get_mut("k0-2").unwrap().dead = 1),
            ("stuck: k0-2 is at rest without", |effects, _| {
                effects.pop();
            }),
            ("stuck: keep has a backlog", |_, seen| seen.restless.push("keep has a backlog".into())),
            ("duplicated: k0-1 in keep", |effects, _| {
                let again = Effect { token: "another key".into(), ..effects[0].clone() };
                effects.push(again);
            }),
            ("duplicated: k0 of keep", |_, seen| {
                seen.states.get_mut(KEEP).unwrap().get_mut("k0").unwrap().take(2);
            }),
            ("lost: k0 of keep", |_, seen| {
                seen.states.remove(KEEP);
            }),
            ("lost: k0 of tally", |_, seen| {
                seen.states.get_mut(TALLY).unwrap().get_mut("k0").unwrap().count = 1;
            }),
            ("reordered: k0-1 in keep", |effects, _| effects.swap(0, 1)),
            ("reordered: k0 of keep", |_, seen| {
                seen.states.get_mut(KEEP).unwrap().get_mut("k0").unwrap().chain ^= 1;
            }),
            ("phantom: k0-7", |effects, _| effects.push(effect(7))),
        ];

        for (wanted, doctor) in doctored {
            let (acked, mut effects, mut seen) = sound();
            doctor(&mut effects, &mut seen);
            let broken = check(&acked, &effects, &seen, EXPECT);
            assert!(broken.iter().any(|found| found.to_string().starts_with(wanted)), "{wanted}: {broken:?}");
        }
    }

    #[test]
    fn what_waits_in_a_paused_subscription_may_not_be_done_nor_emptied() {
        let (acked, effects, mut seen) = sound();
        let id = acked[3].id.clone();
        seen.events.get_mut(&id).unwrap().payload = Payload::Gone;
        let retained = Expect { retention: true, ..EXPECT };

        assert_eq!(check(&acked, &effects, &seen, retained), [Violation::Emptied(id)].into());
    }

    #[test]
    fn the_effect_of_an_event_that_is_stuck_need_not_be_counted_and_no_other_is_excused() {
        let (acked, effects, mut seen) = sound();
        seen.events.get_mut("k0-2").unwrap().open = 1;
        let mut one = Kept::default();
        one.take(1);
        for subscription in [KEEP, TALLY] {
            seen.states.get_mut(subscription).unwrap().insert("k0".into(), one.clone());
        }

        let stuck = Violation::Stuck("k0-2: 1 open and 0 dead, expected (0, 0)".into());
        assert_eq!(check(&acked, &effects, &seen, EXPECT), [stuck].into());
        seen.states.get_mut(KEEP).unwrap().remove("k0");
        let lost = Violation::Lost("k0 of keep: 0 counted, 2 effects".into());
        assert!(check(&acked, &effects, &seen, EXPECT).contains(&lost));
    }

    #[test]
    fn damage_that_is_told_with_its_event_is_no_loss() {
        let (acked, effects, mut seen) = sound();
        seen.events.remove("k0-1");
        seen.told.push("event k0-1: journal/1.journal: damaged at byte 7".into());

        assert_eq!(check(&acked, &effects, &seen, EXPECT), BTreeSet::new());
        seen.events.remove("k0-2");
        assert_eq!(check(&acked, &effects, &seen, EXPECT), [Violation::Lost("k0-2".into())].into());
    }
}
