//! Model test: random histories, with crashes, on the engine in memory and on the one on disk in step.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::SledStore;
use crate::event::{EventName, Timestamp};
use crate::store::conformance::{dead, retry, routed, searches, settle, snapshot};
use crate::store::{
    Change, MemoryStore, Ordinal, Outcome, Repair, Routed, Seq, StateWrite, Store, StoreSettings,
    SubscriptionId, SubscriptionSpec,
};

/// One step of a history; numbers pick among what is there.
#[derive(Debug, Clone, Copy)]
enum Act {
    Publish { id: u8, routes: u8, is_late: bool, is_other: bool },
    Settle { subscription: u8, pick: u8, outcome: u8, emit: Option<u8>, has_more: bool },
    SettleAt { subscription: u8, ordinal: u8 },
    Defer { subscription: u8, pick: u8 },
    Repair { pick: u8, is_retry: bool },
    Release { seq: u8 },
    Note { subscription: u8, seq: u8, is_effect: bool },
    Subscribe { name: u8, looks_back: bool },
    Switch { subscription: u8, how: u8 },
    Pass { minutes: u16 },
    Crash,
    Close,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..40_u8, 0..8_u8, any::<bool>(), prop::bool::weighted(0.1)).prop_map(
            |(id, routes, is_late, is_other)| Act::Publish { id, routes, is_late, is_other }
        ),
        8 => (0..4_u8, any::<u8>(), 0..8_u8, prop::option::weighted(0.3, 0..40_u8), any::<bool>()).prop_map(
            |(subscription, pick, outcome, emit, has_more)| Act::Settle { subscription, pick, outcome, emit, has_more }
        ),
        1 => (0..4_u8, 0..60_u8).prop_map(|(subscription, ordinal)| Act::SettleAt { subscription, ordinal }),
        3 => (0..4_u8, any::<u8>()).prop_map(|(subscription, pick)| Act::Defer { subscription, pick }),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(pick, is_retry)| Act::Repair { pick, is_retry }),
        2 => (0..60_u8).prop_map(|seq| Act::Release { seq }),
        2 => (0..4_u8, 0..60_u8, any::<bool>()).prop_map(
            |(subscription, seq, is_effect)| Act::Note { subscription, seq, is_effect }
        ),
        1 => (0..4_u8, any::<bool>()).prop_map(|(name, looks_back)| Act::Subscribe { name, looks_back }),
        1 => (0..4_u8, 0..3_u8).prop_map(|(subscription, how)| Act::Switch { subscription, how }),
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
    Routed { event: event.into(), ..routed }
}

/// Both engines.
struct Pair {
    model: MemoryStore,
    store: Option<SledStore>,
    settings: StoreSettings,
    keys: BTreeSet<String>,
    now: Timestamp,
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
        Self { model, store, settings, keys, now, _dir: dir }
    }

    fn store(&mut self) -> &mut SledStore {
        self.store.as_mut().unwrap()
    }

    fn apply(&mut self, change: Change) {
        let now = self.now;
        let expected = self.model.stage(now, vec![change.clone()]).unwrap();
        let found = self.store().stage(now, vec![change]).unwrap();
        assert_eq!(format!("{expected:?}"), format!("{found:?}"));
        assert_eq!(self.model.sync().unwrap(), self.store().sync().unwrap());
        self.maintain();
    }

    fn maintain(&mut self) {
        let now = self.now;
        self.model.maintain(now).unwrap();
        self.store().maintain(now).unwrap();
        assert_eq!(self.model.reader().durable(), self.store().reader().durable());
    }

    fn compare(&mut self) {
        let expected = snapshot(&*self.model.reader(), &self.keys);
        let found = snapshot(&*self.store.as_ref().unwrap().reader(), &self.keys);
        assert_eq!(expected, found);
        let expected = searches(&*self.model.reader());
        assert_eq!(expected, searches(&*self.store.as_ref().unwrap().reader()));
    }

    fn reopen(&mut self, is_clean: bool) {
        let store = self.store.take().unwrap();
        if is_clean {
            Box::new(store).close().unwrap();
        } else {
            drop(store);
        }
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

    #[expect(clippy::too_many_lines, reason = "one arm for each kind of act")]
    fn run(&mut self, act: Act) {
        let id = |n: u8| SubscriptionId(u32::from(n) + 1);
        let routes = |mask: u8| (0..3).filter(|n| mask >> n & 1 == 1).map(id).collect::<Vec<_>>();
        match act {
            Act::Publish { id, routes: mask, is_late, is_other } => {
                let mut event = varied(id, &routes(mask));
                event.due = is_late.then(|| self.now.plus_millis(60_000));
                if is_other {
                    let mut other = (*event.event).clone();
                    other.data = Bytes::from_static(b"\"other\"");
                    event = Routed { event: other.into(), ..event };
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
                    _ => dead(false),
                };
                let mut settle = settle(id(subscription), ordinal, seq, outcome);
                settle.key = format!("k{}", seq.0 % 3);
                settle.emits = emit.map(|n| varied(n, &routes(pick % 8))).into_iter().collect();
                if has_more {
                    settle.state =
                        Some(StateWrite { value: Bytes::from(vec![pick; usize::from(pick) * 400]) });
                    settle.result = Some(Bytes::from(seq.0.to_string()));
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
            Act::Repair { pick, is_retry } => {
                let letters = self.model.reader().dead_letters(None, None, 100).unwrap();
                let Some(index) = usize::from(pick).checked_rem(letters.len()) else { return };
                let (subscription, seq) = (letters[index].subscription, letters[index].seq);
                let reason = "model".to_owned();
                self.apply(Change::Repair(Repair { subscription, seq, retry: is_retry, reason }));
            }
            Act::Release { seq } => self.apply(Change::Release(Seq(u64::from(seq)))),
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
                self.apply(Change::Subscribe(SubscriptionSpec { name: format!("s{name}"), step, on, since }));
            }
            Act::Switch { subscription, how } => self.apply(match how {
                0 => Change::Orphan(id(subscription)),
                how => Change::Pause { subscription: id(subscription), paused: how == 1 },
            }),
            Act::Pass { minutes } => {
                self.now = self.now.plus(Duration::from_mins(u64::from(minutes)));
                self.maintain();
            }
            Act::Crash => self.reopen(false),
            Act::Close => self.reopen(true),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

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
        pair.reopen(false);
        pair.reopen(true);
    }
}
