//! Promise: whatever people do, steps fail at and machines lose, in whatever order: what was acknowledged is
//! there, is handled in order and once, and can be brought to its end.
//!
//! Each seed is one history over a simulated disk that loses unsynced groups, with a clock that is moved by
//! hand: publications and repeats, crashes, pauses, held keys, repairs of every kind, bulk jobs, replays, other
//! wirings, cancelled flows. `TIDEGATE_SIM_SEEDS` says how many seeds, `TIDEGATE_SIM_FROM` with which to begin;
//! a failing seed is printed. What a seed fixes: what people do and when by the clock, how steps fail, which
//! group of a crash it is and what the disk loses. What it does not: threads are real, so which changes share a
//! group, and which of two keys is first, may differ from run to run of a seed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kit::{Dice, Job, Switch, Told, job};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidegate::bus::view::{DeadLetterFilter, DeliveryView, FlowStatus};
use tidegate::bus::{
    EmitByHand, JobAct, JobAsk, JobFilter, Operator, RepairRequest, ReplayFrom, ReplayRequest, When,
};
use tidegate::event::{Draft, EventName};
use tidegate::prelude::*;
use tidegate::store::StoreSettings;
use tidegate::testing::{CrashPoint, Harness, SimDisk};

const KEYS: u64 = 4;
const ACTS: u64 = 60;
/// What an edit adds to a job's number.
const EDITED: u64 = 10_000;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Undone {
    n: u64,
    key: String,
}
impl Event for Undone {
    const NAME: &'static str = "job.undone";
    fn key(&self) -> Cow<'_, str> {
        (&self.key).into()
    }
}

/// Effect keys by subscription and event.
type Effects = BTreeMap<(String, String), BTreeSet<String>>;

/// What the steps share: how they fail, and what the world outside has seen.
#[derive(Debug, Clone, Default)]
struct World {
    seed: u64,
    mended: Switch,
    effects: Arc<Mutex<Effects>>,
}

impl World {
    /// An effect outside, then what this attempt is to come to.
    fn act(&self, n: u64, cx: &StepContext) -> Result<(), StepError> {
        let at = (cx.subscription().to_owned(), cx.event_id().to_owned());
        self.effects.lock().unwrap().entry(at).or_default().insert(cx.effect_key("world"));
        if self.mended.is_on() {
            return Ok(());
        }
        let name = cx.subscription().len() as u64;
        let mut dice = Dice(self.seed ^ n << 20 ^ u64::from(cx.attempt()) << 10 ^ name);
        dice.roll(2);
        match dice.roll(20) {
            0..=2 => Err(StepError::retry("bad luck")),
            3 => Err(StepError::retry_after(Duration::from_secs(7), "later")),
            4 => Err(StepError::snooze(Duration::from_secs(3))),
            5 => Err(StepError::fatal("broken", "for good")),
            6 => panic!("the step panics"),
            7 => Err(StepError::skip("not for us")),
            _ => Ok(()),
        }
    }
}

macro_rules! steps {
    ($($step:ident $name:literal $event:ident => $emits:ty, $state:ty, |$e:ident, $s:ident, $cx:ident| $end:expr;)+) => { $(
        struct $step(World);
        impl Step for $step {
            const NAME: &'static str = $name;
            type State = $state;
        }
        impl On<$event> for $step {
            type Emits = $emits;
            async fn on(&self, $e: $event, $s: &mut $state, $cx: &StepContext) -> Result<$emits, StepError> {
                self.0.act($e.n, $cx)?;
                $end
            }
        }
    )+ };
}
steps! {
    Count "count" Job => Told, Vec<u64>, |job, seen, cx| {
        seen.push(job.n);
        cx.undo(Undone { n: job.n, key: job.key.clone() })?;
        Ok(Told { n: job.n, key: job.key })
    };
    Mirror "mirror" Told => (), (), |_told, _none, _cx| Ok(());
    Book "bookkeeping" Told => (), Vec<u64>, |told, booked, cx| {
        booked.push(told.n);
        cx.resolve(&json!({ "booked": told.n }))
    };
    Undo "undo" Undone => (), Vec<u64>, |undone, back, _cx| {
        back.push(undone.n);
        Ok(())
    };
}

fn steps(world: &World) -> Registry {
    Registry::new()
        .step(Count(world.clone()))
        .on::<Job>()
        .undoes::<Undone>()
        .step(Mirror(world.clone()))
        .on::<Told>()
        .step(Book(world.clone()))
        .on::<Told>()
        .step(Undo(world.clone()))
        .on::<Undone>()
        .into()
}

fn wiring(concurrency: u64, max_attempts: u64) -> String {
    let backoff = "backoff = { first = \"1s\", max = \"20s\", jitter = 0.5 }";
    let one = |name: &str, on: &str, exhausted: &str| {
        format!(
            "[subscription.{name}]\nstep = \"{name}\"\non = [\"{on}\"]\nconcurrency = {concurrency}\n\
             retry = {{ max_attempts = {max_attempts}, exhausted = \"{exhausted}\", {backoff} }}\n"
        )
    };
    "[steps]\nthreads = 1\n".to_owned()
        + &one("count", "job.given", "park")
        + &one("mirror", "job.told", "skip")
        + "pure = true\n"
        + &one("bookkeeping", "job.told", "park")
        + &one("undo", "job.undone", "park")
}

const SUBSCRIPTIONS: [&str; 4] = ["count", "mirror", "bookkeeping", "undo"];

fn ann() -> Operator {
    Operator { by: "ann".to_owned(), reason: "as the dice say".to_owned() }
}

fn draft(id: &str, n: u64, key: &str) -> Draft {
    let data = Bytes::from(job(n, key).to_string());
    Draft { id: Some(id.to_owned()), ..Draft::json(EventName::new("job.given").unwrap(), data) }
}

struct History {
    h: Harness,
    disk: SimDisk,
    world: World,
    dice: Dice,
    /// What was acknowledged, id and flow.
    acknowledged: BTreeMap<String, String>,
    crashes: u64,
    lost: usize,
    said: Vec<String>,
}

impl History {
    fn new(seed: u64) -> Self {
        let world = World { seed, ..World::default() };
        let disk = SimDisk::new(&StoreSettings::default()).unwrap();
        let settings = tidegate::config::load_text(&wiring(4, 3)).unwrap().settings;
        let h = Harness::on_store(steps(&world), settings, disk.store());
        Self {
            h,
            disk,
            world,
            dice: Dice(seed),
            acknowledged: BTreeMap::new(),
            crashes: 0,
            lost: 0,
            said: Vec::new(),
        }
    }

    fn say(&mut self, what: impl Into<String>) {
        self.said.push(what.into());
    }

    fn run(&mut self) {
        for n in 0..ACTS {
            // Drawn anew for each act, so that one that went otherwise changes none of the later ones.
            self.dice = Dice((self.world.seed << 16 | n).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            self.dice.roll(2);
            self.act(n);
            self.survive();
        }
    }

    /// Starts again when the planned death has come.
    fn survive(&mut self) {
        if !self.h.has_crashed() {
            return;
        }
        self.h.run_until_idle();
        drop(self.h.take_running());
        loop {
            let draw = self.dice.roll(1 << 20);
            let lost = self.disk.crash(draw).unwrap();
            self.say(format!("crash, {lost} lost"));
            self.lost += lost;
            self.crashes += 1;
            // A death that was planned while it was dead comes while it starts, and once.
            let may_die = self.h.is_planned();
            let start = || self.h.restart();
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(start)) {
                Ok(()) => return,
                Err(broken) if !may_die => std::panic::resume_unwind(broken),
                Err(_) => {}
            }
        }
    }

    fn act(&mut self, n: u64) {
        let key = format!("k{}", self.dice.roll(KEYS));
        match self.dice.roll(40) {
            0..=13 => self.publish(n, &key),
            14..=16 => {
                let again = self.dice.roll(n + 1);
                let known = self.acknowledged.contains_key(&format!("e{again}"));
                if known {
                    // The same body under the same id; its key is found in what is stored.
                    let key = self.key_of(again);
                    self.publish(again, &key);
                }
            }
            17..=21 => {
                let by = Duration::from_secs(self.dice.roll(30));
                self.say(format!("{by:?} pass"));
                self.h.advance(by);
            }
            22..=25 => {
                let group = 1 + self.dice.roll(6);
                let point = match self.dice.roll(3) {
                    0 => CrashPoint::BeforeGroup(group),
                    1 => CrashPoint::AfterGroup(group),
                    _ => CrashPoint::BeforeSync(group),
                };
                self.say(format!("to die {point:?}"));
                self.h.crash_at(point);
            }
            26 | 27 => self.pause(),
            28 => self.hold(&key),
            29..=32 => self.repair(),
            33 | 34 => self.bulk(),
            35 => self.replay(),
            36 | 37 => self.rewire(),
            _ => self.cancel(),
        }
    }

    fn key_of(&self, n: u64) -> String {
        let given = self.h.events("job.given");
        given.iter().find(|event| event.id == format!("e{n}")).unwrap().key.clone()
    }

    fn publish(&mut self, n: u64, key: &str) {
        let id = format!("e{n}");
        let answer = self.h.try_publish(draft(&id, n, key));
        self.say(format!("publish {id} of {key}: {}", answer.is_ok()));
        if let Ok(accepted) = answer {
            self.acknowledged.insert(id, accepted.flow.clone());
        }
        if self.dice.roll(2) == 0 {
            self.h.run_until_idle();
        }
    }

    fn pause(&mut self) {
        let paused = self.dice.roll(2) == 0;
        let name = SUBSCRIPTIONS[usize::try_from(self.dice.roll(4)).unwrap()];
        let bus = self.h.bus();
        let is_done = if self.dice.roll(4) == 0 {
            self.h.wait_for(bus.pause_bus(paused, ann())).is_ok()
        } else {
            self.h.wait_for(bus.pause(name, paused, ann())).is_ok()
        };
        self.say(format!("pause {name} {paused}: {is_done}"));
    }

    fn hold(&mut self, key: &str) {
        let bus = self.h.bus();
        let is_done = if self.dice.roll(2) == 0 {
            self.h.wait_for(bus.park_key("count", key, ann())).is_ok()
        } else {
            self.h.wait_for(bus.resume_key("count", key, ann())).is_ok()
        };
        self.say(format!("hold or let go {key}: {is_done}"));
    }

    fn repair(&mut self) {
        self.h.run_until_idle();
        if self.h.has_crashed() {
            return;
        }
        let letters = self.h.dead_letters();
        if letters.is_empty() {
            return;
        }
        let letter = letters[usize::try_from(self.dice.roll(letters.len() as u64)).unwrap()].clone();
        let retry = |when| RepairRequest::Retry { when, force: true };
        let request = match self.dice.roll(6) {
            0 | 1 => retry(When::Now),
            2 => retry(When::After(Duration::from_secs(self.dice.roll(60)))),
            3 => RepairRequest::Skip,
            4 => {
                let shown = self.h.wait_for(self.h.bus().dead_letter(&letter.id)).unwrap();
                let Some(Ok(data)) = shown.data.map(|data| serde_json::from_str::<Job>(data.get())) else {
                    return;
                };
                let data = Bytes::from(job(data.n + EDITED, &data.key).to_string());
                RepairRequest::Edit { data, force: true }
            }
            _ => {
                let told = json!({ "n": 77, "key": letter.key });
                let emit = EmitByHand {
                    name: "job.told".to_owned(),
                    data: Bytes::from(told.to_string()),
                    key: None,
                };
                let emits = if letter.subscription == "count" { vec![emit] } else { Vec::new() };
                RepairRequest::Done { emits, result: None, force: true }
            }
        };
        self.say(format!("repair {} of {}: {request:?}", letter.event, letter.subscription));
        let answer = self.h.wait_for(self.h.bus().repair(&letter.id, request, ann()));
        self.say(format!("  {answer:?}"));
    }

    fn bulk(&mut self) {
        let act = if self.dice.roll(4) == 0 { JobAct::Skip } else { JobAct::Retry };
        let subscription = Some(SUBSCRIPTIONS[usize::try_from(self.dice.roll(4)).unwrap()].to_owned());
        let letters = DeadLetterFilter { subscription, ..DeadLetterFilter::default() };
        let filter = JobFilter { letters, ..JobFilter::default() };
        let pace = (self.dice.roll(2) == 0).then(|| "2/s".parse().unwrap());
        let ask = JobAsk { act, when: When::Now, force: act == JobAct::Retry, filter, pace };
        let answer = self.h.wait_for(self.h.bus().start_job(ask, ann()));
        self.say(format!("bulk {act:?}: {:?}", answer.map(|job| job.counts)));
    }

    fn replay(&mut self) {
        let name = if self.dice.roll(2) == 0 { "count" } else { "bookkeeping" };
        let request = ReplayRequest { from: ReplayFrom::Start, until: None, name: None, key: None };
        let answer = self.h.wait_for(self.h.bus().replay(name, request, ann()));
        self.say(format!("replay {name}: {}", answer.is_ok()));
    }

    fn rewire(&mut self) {
        let text = wiring(1 + self.dice.roll(5), 1 + self.dice.roll(4));
        let is_done = if self.dice.roll(3) == 0 && !self.h.is_planned() {
            self.h.rewire(steps(&self.world), &text);
            true
        } else {
            self.h.try_reload(&text, false).is_ok()
        };
        self.say(format!("rewire: {is_done}"));
    }

    fn cancel(&mut self) {
        let of = self.dice.roll(self.acknowledged.len() as u64 + 1);
        let Some(flow) = self.acknowledged.values().nth(usize::try_from(of).unwrap()).cloned() else {
            return;
        };
        let answer = self.h.wait_for(self.h.bus().cancel_flow(&flow, ann()));
        self.say(format!("cancel {flow}: {answer:?}"));
    }

    /// Everything is resumed, mended and repaired, until nothing is left to do.
    fn bring_to_its_end(&mut self) {
        // A death that was planned and has not come is to come now.
        self.h.run_until_idle();
        self.survive();
        self.h.crash_at(CrashPoint::AfterCommits(u64::MAX));
        self.world.mended.turn(true);
        self.h.wait_for(self.h.bus().pause_bus(false, ann())).unwrap();
        for name in SUBSCRIPTIONS {
            self.h.pause(name, false);
        }
        for _ in 0..20 {
            for key in 0..KEYS {
                // Refused for a key that waits behind a dead letter and is not held.
                drop(self.h.wait_for(self.h.bus().resume_key("count", &format!("k{key}"), ann())));
            }
            self.h.advance(Duration::from_mins(30));
            let letters = self.h.dead_letters();
            if letters.is_empty() {
                return;
            }
            for letter in letters {
                let retry = RepairRequest::Retry { when: When::Now, force: true };
                let answer = self.h.wait_for(self.h.bus().repair(&letter.id, retry, ann()));
                self.say(format!(
                    "at the end {} of {}: {answer:?}, {}",
                    letter.event, letter.subscription, letter.error
                ));
            }
        }
    }

    fn check(&self) {
        self.nothing_acknowledged_is_lost();
        self.nothing_is_stuck();
        for name in ["count", "bookkeeping", "undo"] {
            self.each_delivery_counts_once(name);
        }
        self.keys_keep_their_order();
        self.effects_are_once_per_delivery();
    }

    fn nothing_acknowledged_is_lost(&self) {
        for (id, flow) in &self.acknowledged {
            assert_eq!(self.h.status("/http", id).flow, *flow, "{id} is known");
        }
        let ids: Vec<_> = self.h.events("job.given").iter().map(|event| event.id.clone()).collect();
        let unique: BTreeSet<_> = ids.iter().collect();
        assert_eq!(ids.len(), unique.len(), "no event is there twice");
    }

    fn nothing_is_stuck(&self) {
        for name in SUBSCRIPTIONS {
            let view = self.h.subscription(name);
            assert_eq!((view.backlog, view.inflight, view.dead), (0, 0, 0), "{name}");
        }
        for flow in self.flows() {
            let view = self.h.flow(&flow);
            assert_eq!((view.open, view.dead), (0, 0), "{flow}");
            assert!(
                matches!(view.status, FlowStatus::Done | FlowStatus::Compensated),
                "{flow}: {:?}",
                view.status
            );
        }
    }

    fn flows(&self) -> BTreeSet<String> {
        self.h.events("job.given").iter().map(|event| event.flow.clone()).collect()
    }

    /// Every delivery to a subscription, with the id and the data of its event.
    fn deliveries(&self, subscription: &str) -> Vec<(String, Job, DeliveryView)> {
        let mut data = BTreeMap::new();
        for name in ["job.given", "job.told", "job.undone"] {
            for event in self.h.events(name) {
                data.insert(event.id.clone(), serde_json::from_slice::<Job>(&event.data).unwrap());
            }
        }
        let mut all = Vec::new();
        for flow in self.flows() {
            for event in self.h.flow(&flow).events {
                for delivery in event.deliveries {
                    if delivery.subscription == subscription {
                        all.push((event.id.clone(), data[&event.id].clone(), delivery));
                    }
                }
            }
        }
        all
    }

    fn state(&self, subscription: &str, key: &str) -> Vec<u64> {
        let state = self.h.wait_for(self.h.bus().state(subscription, key));
        state.map_or_else(|_| Vec::new(), |state| serde_json::from_str(state.get()).unwrap())
    }

    fn each_delivery_counts_once(&self, subscription: &str) {
        let mut wanted: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (_, job, delivery) in self.deliveries(subscription) {
            let done = delivery.history.iter().filter(|attempt| attempt.outcome == "done").count();
            let times = wanted.entry(job.key).or_default();
            times.extend(std::iter::repeat_n(job.n, done));
        }
        for key in 0..KEYS {
            let key = format!("k{key}");
            let mut wanted = wanted.remove(&key).unwrap_or_default();
            let mut counted = self.state(subscription, &key);
            wanted.sort_unstable();
            counted.sort_unstable();
            assert_eq!(counted, wanted, "{subscription} of {key}");
        }
    }

    fn keys_keep_their_order(&self) {
        let replayed: BTreeSet<u64> = self
            .deliveries("count")
            .into_iter()
            .filter(|(_, _, delivery)| delivery.history.iter().any(|attempt| attempt.outcome == "replayed"))
            .map(|(_, job, _)| job.n % EDITED)
            .collect();
        // An edited event has the place of the one that it is for.
        let mut places = BTreeMap::new();
        for (place, event) in self.h.events("job.given").iter().enumerate() {
            let job: Job = serde_json::from_slice(&event.data).unwrap();
            places.entry(job.n % EDITED).or_insert(place);
        }
        for key in 0..KEYS {
            let handled = self.state("count", &format!("k{key}"));
            let once = handled.iter().filter(|n| !replayed.contains(&(*n % EDITED)));
            let order: Vec<_> = once.map(|n| places[&(n % EDITED)]).collect();
            assert!(order.is_sorted(), "k{key} was handled as {handled:?}");
        }
    }

    fn effects_are_once_per_delivery(&self) {
        let effects = self.world.effects.lock().unwrap();
        for name in SUBSCRIPTIONS {
            for (id, _, delivery) in self.deliveries(name) {
                let generations =
                    1 + delivery.history.iter().filter(|attempt| attempt.outcome == "replayed").count();
                let keys = effects.get(&(name.to_owned(), id.clone())).map_or(0, BTreeSet::len);
                assert!(keys <= generations, "{name} acted under {keys} keys for {id}");
            }
        }
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn whatever_is_lost_failed_and_repaired_all_of_it_ends_once_and_in_order() {
    let from = number("TIDEGATE_SIM_FROM", 1);
    let (mut crashes, mut lost) = (0, 0);
    for seed in from..from + number("TIDEGATE_SIM_SEEDS", 500) {
        let mut history = History::new(seed);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            history.run();
            history.bring_to_its_end();
            history.check();
        }));
        if let Err(broken) = run {
            println!("seed {seed} breaks a promise; what was done:\n{}", history.said.join("\n"));
            std::panic::resume_unwind(broken);
        }
        crashes += history.crashes;
        lost += history.lost;
    }
    println!("{crashes} crashes, {lost} groups lost");
    assert!(crashes > 0 && lost > 0, "the histories crash and lose: {crashes} crashes, {lost} groups");
}
