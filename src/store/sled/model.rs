//! Model test: random histories, with crashes, on the engine in memory and on the one on disk in step.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::SledStore;
use crate::event::{Digests, EventName, Fact, Filter, Timestamp};
use crate::store::conformance::{check_at_hand, dead, retry, routed, searches, settle, snapshot, undo};
use crate::store::{
    Change, Compensate, DeadReason, MemoryStore, Ordinal, Outcome, Repair, RepairAct, Replay, Routed, Seq,
    Shelf, StateWrite, Store, StoreSettings, SubscriptionId, SubscriptionSpec,
};

/// One step of a history; numbers pick among what is there.
#[derive(Debug, Clone, Copy)]
enum Act {
    Publish { id: u8, routes: u8, is_late: bool, is_other: bool, is_timed: bool },
    Settle { subscription: u8, pick: u8, outcome: u8, emit: Option<u8>, has_more: bool },
    SettleAt { subscription: u8, ordinal: u8 },
    Defer { subscription: u8, pick: u8 },
    Repair { pick: u8, how: u8 },
    Release { seq: u8 },
    Reschedule { seq: u8, minutes: Option<u8> },
    Overdue { flow: u8 },
    GoBack { flow: u8, how: u8 },
    Note { subscription: u8, seq: u8, is_effect: bool },
    Subscribe { name: u8, looks_back: bool },
    Switch { subscription: u8, how: u8 },
    Replay { subscription: u8, first: u8, count: u8, is_begin: bool },
    Keep { shelf: u8, name: u8, len: Option<u8>, is_told: bool },
    Pass { minutes: u16 },
    Crash,
    Close,
}

/// Ids that are published.
const IDS: u8 = 40;

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..IDS, 0..8_u8, any::<bool>(), prop::bool::weighted(0.1), any::<bool>()).prop_map(
            |(id, routes, is_late, is_other, is_timed)| Act::Publish { id, routes, is_late, is_other, is_timed }
        ),
        8 => (0..4_u8, any::<u8>(), 0..8_u8, prop::option::weighted(0.3, 0..IDS), any::<bool>()).prop_map(
            |(subscription, pick, outcome, emit, has_more)| Act::Settle { subscription, pick, outcome, emit, has_more }
        ),
        1 => (0..4_u8, 0..60_u8).prop_map(|(subscription, ordinal)| Act::SettleAt { subscription, ordinal }),
        3 => (0..4_u8, any::<u8>()).prop_map(|(subscription, pick)| Act::Defer { subscription, pick }),
        4 => (any::<u8>(), 0..9_u8).prop_map(|(pick, how)| Act::Repair { pick, how }),
        2 => (0..60_u8).prop_map(|seq| Act::Release { seq }),
        2 => (0..60_u8, prop::option::of(0..200_u8))
            .prop_map(|(seq, minutes)| Act::Reschedule { seq, minutes }),
        1 => (0..5_u8).prop_map(|flow| Act::Overdue { flow }),
        3 => (0..5_u8, 0..5_u8).prop_map(|(flow, how)| Act::GoBack { flow, how }),
        2 => (0..4_u8, 0..60_u8, any::<bool>()).prop_map(
            |(subscription, seq, is_effect)| Act::Note { subscription, seq, is_effect }
        ),
        1 => (0..4_u8, any::<bool>()).prop_map(|(name, looks_back)| Act::Subscribe { name, looks_back }),
        1 => (0..4_u8, 0..3_u8).prop_map(|(subscription, how)| Act::Switch { subscription, how }),
        3 => (0..4_u8, 0..40_u8, 1..9_u8, prop::bool::weighted(0.3)).prop_map(
            |(subscription, first, count, is_begin)| Act::Replay { subscription, first, count, is_begin }
        ),
        2 => (0..7_u8, 0..6_u8, prop::option::weighted(0.7, any::<u8>()), any::<bool>()).prop_map(
            |(shelf, name, len, is_told)| Act::Keep { shelf, name, len, is_told }
        ),
        2 => (0..200_u16).prop_map(|minutes| Act::Pass { minutes }),
        2 => Just(Act::Crash),
        1 => Just(Act::Close),
    ]
}

/// An event of one of five flows, with one of two names and one of three keys or none.
fn varied(id: u8, routes: &[SubscriptionId]) -> Routed {
    let routed = routed(&format!("f{}-{id}", id % 5), routes);
    let mut event = (*routed.event).clone();
    event.key = if id % 4 == 3 { String::new() } else { format!("k{}", id % 4) };
    event.name = EventName::new(if id.is_multiple_of(3) { "test.happened" } else { "test.went_on" }).unwrap();
    Routed::new(event.into(), routed.routes)
}

/// Both engines.
struct Pair {
    model: MemoryStore,
    store: Option<SledStore>,
    settings: StoreSettings,
    keys: BTreeSet<String>,
    now: Timestamp,
    scratch: tempfile::TempDir,
    _dir: tempfile::TempDir,
}

impl Pair {
    fn new(checkpoint_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = StoreSettings {
            path: dir.path().to_owned(),
            status_ttl: Duration::from_hours(2),
            dedupe_window: Duration::from_hours(8),
            dedupe_max_bytes: 20 * 64,
            retention: Duration::from_hours(3),
            cache_bytes: 8 << 20,
            checkpoint_bytes,
            segment_bytes: 64 << 10,
            ..StoreSettings::default()
        };
        let now = Timestamp(1_800_000_000_000);
        let model = MemoryStore::new(&settings).unwrap();
        let store = Some(SledStore::open(settings.clone(), now).unwrap());
        let keys = (0..3).map(|n| format!("k{n}")).collect();
        Self { model, store, settings, keys, now, scratch: tempfile::tempdir().unwrap(), _dir: dir }
    }

    fn store(&mut self) -> &mut SledStore {
        self.store.as_mut().unwrap()
    }

    fn apply(&mut self, change: Change) {
        let now = self.now;
        let expected = self.model.stage(now, &mut vec![change.clone()]).unwrap();
        let found = self.store().stage(now, &mut vec![change]).unwrap();
        assert_eq!(format!("{expected:?}"), format!("{found:?}"));
        assert_eq!(self.model.sync().unwrap(), self.store().sync().unwrap());
        self.maintain();
    }

    fn maintain(&mut self) {
        let now = self.now;
        self.model.maintain(now).unwrap();
        self.store().maintain(now).unwrap();
        assert_eq!(self.model.sync().unwrap(), self.store().sync().unwrap());
        self.poll();
    }

    /// What is polled all the time is told as it stands, by ids that are forgotten and come again, too.
    fn poll(&mut self) {
        let readers = [self.model.reader(), self.store().reader()];
        for identity in (0..IDS).map(|id| varied(id, &[]).event.identity()) {
            for reader in &readers {
                let _is_at_hand = check_at_hand(&**reader, identity);
            }
        }
    }

    fn compare(&mut self) {
        let expected = snapshot(&*self.model.reader(), &self.keys);
        let found = snapshot(&*self.store.as_ref().unwrap().reader(), &self.keys);
        assert_eq!(expected, found);
        let expected = searches(&*self.model.reader());
        assert_eq!(expected, searches(&*self.store.as_ref().unwrap().reader()));
    }

    /// Whatever has happened, verification finds nothing wrong.
    fn verify(&self) {
        let progress = crate::store::Progress::default();
        let report = match &self.store {
            Some(store) => store.tools().unwrap().verify(&progress),
            None => crate::store::verify_folder(&self.settings.path, self.scratch.path(), &progress),
        };
        let report = report.unwrap();
        assert!(report.clean, "{report:#?}");
    }

    /// A backup of it tells the same once it is restored.
    fn restored(&self) {
        let (file, to) = (self.scratch.path().join("backup"), self.scratch.path().join("restored"));
        let progress = crate::store::Progress::default();
        let tools = self.store.as_ref().unwrap().tools().unwrap();
        tools.backup(self.now, &mut std::fs::File::create(&file).unwrap(), &progress).unwrap();
        crate::store::restore(&file, &to, &progress).unwrap();
        let settings = StoreSettings { path: to, ..self.settings.clone() };
        let restored = SledStore::open(settings, self.now).unwrap();
        let expected = snapshot(&*self.model.reader(), &self.keys);
        assert_eq!(expected, snapshot(&*restored.reader(), &self.keys));
    }

    fn reopen(&mut self, is_clean: bool) {
        let store = self.store.take().unwrap();
        if is_clean {
            Box::new(store).close().unwrap();
        } else {
            drop(store);
        }
        self.verify();
        self.store = Some(SledStore::open(self.settings.clone(), self.now).unwrap());
        self.compare();
    }

    /// Some open delivery of a subscription: ready, pending or deferred.
    fn pick(&self, subscription: SubscriptionId, pick: u8) -> Option<(u64, Seq)> {
        let reader = self.model.reader();
        let ready = reader.queue(subscription, Ordinal(0), 100).unwrap();
        let pending = reader.pending(subscription, Ordinal(0), 100).unwrap();
        let mut open: Vec<_> = ready.iter().map(|queued| (queued.ordinal.0, queued.seq)).collect();
        open.extend(pending.iter().map(|row| (row.ordinal.0, row.seq)));
        let index = usize::from(pick).checked_rem(open.len())?;
        open.get(index).copied()
    }

    /// One step of undoing a flow: mostly what is next.
    fn go_back(&mut self, flow: &str, how: u8) {
        let next = self.model.reader().undoing(flow).unwrap().and_then(|undoing| undoing.next);
        let flow = flow.to_owned();
        self.apply(Change::Compensate(match (how, next) {
            (0, _) => Compensate::Begin { flow, by: "ann".to_owned(), reason: "model".to_owned() },
            (1, _) | (_, None) => Compensate::End { flow },
            (_, Some(next)) => {
                let undo = Routed::new(next, vec![SubscriptionId(u32::from(how) - 1)]);
                Compensate::Next { flow, undo }
            }
        }));
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each kind of act")]
    fn run(&mut self, act: Act) {
        let id = |n: u8| SubscriptionId(u32::from(n) + 1);
        let routes = |mask: u8| (0..3).filter(|n| mask >> n & 1 == 1).map(id).collect::<Vec<_>>();
        match act {
            Act::Publish { id, routes: mask, is_late, is_other, is_timed } => {
                let mut event = varied(id, &routes(mask));
                event.due = is_late.then(|| self.now.plus_millis(60_000));
                event.filtered = routes(mask.wrapping_mul(3))
                    .into_iter()
                    .filter(|id| !event.routes.contains(id))
                    .collect();
                event.deadline = is_timed.then(|| self.now.plus_millis(90_000));
                if is_other {
                    let mut other = (*event.event).clone();
                    other.data = Bytes::from_static(b"\"other\"");
                    event = Routed { digests: Digests::of(&other), event: other.into(), ..event };
                }
                self.apply(Change::Publish(vec![event]));
            }
            Act::Settle { subscription, pick, outcome, emit, has_more } => {
                let Some((ordinal, seq)) = self.pick(id(subscription), pick) else { return };
                let outcome = match outcome {
                    0..=2 => Outcome::Done,
                    3 => Outcome::Skipped { reason: "none".to_owned() },
                    4 => retry(self.now.plus_millis(1_000)),
                    5 => Outcome::Snooze { due: self.now.plus_millis(1_000) },
                    6 => dead(true),
                    _ => Outcome::Dead {
                        reason: DeadReason::Fatal,
                        error: format!(
                            "order {pick} of \"k{}\", code {}",
                            seq.0,
                            ["a", "b"][usize::from(pick % 2)]
                        ),
                        parks: false,
                    },
                };
                let mut settle = settle(id(subscription), ordinal, seq, outcome);
                settle.key = format!("k{}", seq.0 % 3).into();
                settle.emits = emit.map(|n| varied(n, &routes(pick % 8))).into_iter().collect();
                if has_more {
                    settle.state =
                        Some(StateWrite { value: Bytes::from(vec![pick; usize::from(pick) * 400]) });
                    settle.result = Some(Bytes::from(seq.0.to_string()));
                    let flow = self.model.reader().event(seq).unwrap().unwrap().flow.clone();
                    settle.undos = vec![undo(&format!("{}-u{}", &flow[5..], seq.0)).into()];
                    settle.pivot = pick == 0;
                }
                self.apply(Change::Settle(settle));
            }
            Act::SettleAt { subscription, ordinal } => {
                let seq = Seq(u64::from(ordinal));
                self.apply(Change::Settle(settle(id(subscription), seq.0, seq, Outcome::Done)));
            }
            Act::Defer { subscription, pick } => {
                let Some((ordinal, seq)) = self.pick(id(subscription), pick) else { return };
                let key = format!("k{}", seq.0 % 3);
                self.apply(Change::Defer { subscription: id(subscription), ordinal: Ordinal(ordinal), key });
            }
            Act::Repair { pick, how } => {
                let letters = self.model.reader().dead_letters(None, None, 100).unwrap();
                let Some(index) = usize::from(pick).checked_rem(letters.len()) else { return };
                let letter = &letters[index];
                let (subscription, seq) = (letter.subscription, letter.seq);
                // Of the letter's flow, and by another letter of it taken already at times.
                let other = |n: u8| {
                    let mut event = routed(&format!("x{}-{n}", pick % 4), &routes(pick % 8));
                    let flow = letter.event.flow.clone();
                    // The flow is in no digest.
                    Arc::make_mut(&mut event.event).flow = flow;
                    event
                };
                let act = match how {
                    0 | 1 => RepairAct::Retry { due: None },
                    2 => RepairAct::Retry { due: Some(self.now.plus_millis(90_000)) },
                    3 => RepairAct::Skip,
                    4 => RepairAct::Done { emits: Vec::new(), result: None },
                    5 => RepairAct::Done { emits: vec![other(1), other(2)], result: Some(Bytes::from("1")) },
                    _ => RepairAct::Supersede { event: Box::new(other(how)), in_place: how < 8 },
                };
                let (reason, by) = ("model".to_owned(), "ann".to_owned());
                self.apply(Change::Repair(Repair { subscription, seq, act, reason, by }));
            }
            Act::GoBack { flow, how } => self.go_back(&format!("flow-f{flow}"), how),
            Act::Release { seq } => self.apply(Change::Release(Seq(u64::from(seq)))),
            Act::Reschedule { seq, minutes } => {
                let due = minutes.map(|minutes| self.now.plus(Duration::from_mins(u64::from(minutes))));
                let reason = "model".to_owned();
                self.apply(Change::Reschedule { seq: Seq(u64::from(seq)), due, reason });
            }
            Act::Overdue { flow } => self.apply(Change::Overdue { flow: format!("flow-f{flow}") }),
            Act::Note { subscription, seq, is_effect } => {
                let (subscription, seq) = (id(subscription), Seq(u64::from(seq)));
                self.apply(if is_effect {
                    Change::Effect {
                        subscription,
                        seq,
                        name: "n".to_owned(),
                        value: Bytes::from_static(b"1"),
                    }
                } else {
                    Change::Progress { subscription, seq, text: "half".to_owned() }
                });
            }
            Act::Subscribe { name, looks_back } => {
                let since = looks_back.then_some(Timestamp(0));
                let (step, on) = ("s".to_owned(), vec!["test.>".to_owned()]);
                self.apply(Change::Subscribe(SubscriptionSpec {
                    name: format!("s{name}"),
                    step,
                    on,
                    since,
                    filter: Filter::default(),
                }));
            }
            Act::Switch { subscription, how } => self.apply(match how {
                0 => Change::Orphan(id(subscription)),
                how => Change::Pause { subscription: id(subscription), paused: how == 1 },
            }),
            Act::Replay { subscription, first, count, is_begin } => {
                let records = self.model.reader().subscriptions().unwrap();
                let begun = records.get(usize::from(subscription)).map_or(0, |record| record.generation);
                let range = u64::from(first)..u64::from(first) + u64::from(count);
                let seqs = if is_begin { Vec::new() } else { range.map(Seq).collect() };
                let generation = begun + u32::from(is_begin);
                self.apply(Change::Replay(Replay { subscription: id(subscription), seqs, generation }));
            }
            Act::Keep { shelf, name, len, is_told } => {
                let Some(shelf) = Shelf::ALL.get(usize::from(shelf)).copied() else { return };
                let value = len.map(|len| Bytes::from(vec![name; usize::from(len) * 8]));
                let fact = is_told.then(|| Fact::new("tidegate.job.started", &[&name.to_string()], &name));
                let fact = fact.flatten().and_then(|fact| fact.event(self.now));
                let facts = fact.map(|fact| Routed::new(fact.into(), routes(name))).into_iter().collect();
                let change = Box::new(Change::Keep { shelf, name: "n".repeat(usize::from(name)), value });
                self.apply(Change::With { change, facts });
            }
            Act::Pass { minutes } => {
                self.now = self.now.plus(Duration::from_mins(u64::from(minutes)));
                self.maintain();
            }
            Act::Crash => self.reopen(false),
            Act::Close => self.reopen(true),
        }
    }
}

/// Histories of 60 steps on average that every run of the suite plays; `TIDEGATE_MODEL_CASES` says otherwise.
fn cases() -> u32 {
    std::env::var("TIDEGATE_MODEL_CASES").map_or(32, |cases| cases.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn both_engines_tell_the_same_whatever_happens(
        acts in prop::collection::vec(act(), 1..120),
        checkpoint_bytes in prop::sample::select(vec![1_u64, 4_000, 32 << 20]),
    ) {
        let mut pair = Pair::new(checkpoint_bytes);
        for name in 0..2 {
            pair.run(Act::Subscribe { name, looks_back: false });
        }
        for act in acts {
            pair.run(act);
        }
        pair.compare();
        pair.verify();
        pair.restored();
        pair.reopen(false);
        pair.reopen(true);
    }
}
