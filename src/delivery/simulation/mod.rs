//! A simulation of the core against a plain model of a store, with a clock and a disk that are thrown about.
//!
//! One seed makes one history: events are published, attempts end in every way, the store answers late and
//! from an older state than the core has reached, changes are staged and synced at other times, the process
//! dies and forgets what was not synced, a person pauses, parks keys and repairs, the limits change, the breaker
//! opens, events expire. Every start is checked against what the
//! history allows. At the end all of it must come to rest, with nothing left in the core.

mod acts;
mod checks;
mod model;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::{Action, Arrival, BreakerSettings, BreakerState, Core, Mended, Order, Settings};
use crate::event::Timestamp;
use crate::retry::{Exhausted, RetryPolicy};
use crate::store::Ordinal;

pub(in crate::delivery) use model::{Model, Row, State, Write};

/// Seeds that every run of the suite plays; `TIDEGATE_SEEDS` plays more, `TIDEGATE_SEED` just one.
const SEEDS: u64 = 500;

/// Numbers that look random, the same for the same seed.
#[derive(Debug)]
pub(in crate::delivery) struct Dice(u64);

impl Dice {
    pub(in crate::delivery) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        crate::retry::draw(0, self.0, 0)
    }

    pub(in crate::delivery) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

#[derive(Debug)]
enum Question {
    Fetch {
        after: Ordinal,
        limit: usize,
    },
    /// Not to be answered before so much is staged: the actor asks behind its own writes.
    Deferred {
        key: String,
        limit: usize,
        behind: usize,
    },
    Load {
        ordinal: Ordinal,
    },
}

#[derive(Debug)]
enum Answer {
    Fetch { after: Ordinal, found: Vec<Arrival<()>> },
    Deferred { key: String, found: Vec<Arrival<()>> },
    Load { ordinal: Ordinal, found: Option<Arrival<()>> },
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct World {
    dice: Dice,
    now: Timestamp,
    settings: Settings,
    core: Core<()>,
    /// What the disk has.
    durable: Model,
    /// What readers see.
    staged: Model,
    /// Staged, not synced, with the number of each in the order of staging.
    unsynced: Vec<Write>,
    /// Nobody publishes any more.
    is_quiet: bool,
    /// On disk, but whoever asked for it has not heard so.
    untold: VecDeque<Write>,
    unstaged: VecDeque<Write>,
    questions: Vec<Question>,
    /// With the length of the history that the answer has seen.
    answers: Vec<(usize, Answer)>,
    history: usize,
    synced: usize,
    flights: BTreeMap<Ordinal, String>,
    /// Handled to an end by this process.
    ended: BTreeSet<Ordinal>,
    /// As this process knows it, settled or not.
    due: BTreeMap<Ordinal, Timestamp>,
    paused: bool,
    /// The core is not told of what is published, as its actor has it.
    is_deaf: bool,
    /// By hand.
    parked: BTreeSet<String>,
    /// As the core tells it.
    breaker: BreakerState,
    /// The attempt that decides over the breaker.
    probe: Option<Ordinal>,
    /// Read again last: of the share of those that come back.
    again: BTreeSet<Ordinal>,
    again_flights: BTreeSet<Ordinal>,
    convicted: Option<Ordinal>,
    lists_all: bool,
    lists_waiting: bool,
    trace: Vec<String>,
    starts: usize,
    out: Vec<Action<()>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed.wrapping_mul(1_000_003));
        let settings = Settings {
            concurrency: 1 + dice.below(6),
            rate: None,
            order: if dice.one_in(5) { Order::None } else { Order::Key },
            retry: RetryPolicy {
                max_attempts: 1 + u32::try_from(dice.below(4)).unwrap(),
                first: Duration::from_millis(20),
                ..RetryPolicy::default()
            },
            exhausted: if dice.one_in(2) { Exhausted::Park } else { Exhausted::Skip },
            retry_share: [0.1, 0.5, 1.0][dice.below(3)],
            breaker: some_breaker(&mut dice),
            window: 4 + dice.below(40),
            lane_max: 1 + dice.below(6),
        };
        Self {
            now: Timestamp(1_000),
            core: Core::new(settings.clone(), seed),
            settings,
            durable: Model::default(),
            staged: Model::default(),
            unsynced: Vec::new(),
            is_quiet: false,
            untold: VecDeque::new(),
            unstaged: VecDeque::new(),
            questions: Vec::new(),
            answers: Vec::new(),
            history: 0,
            synced: 0,
            flights: BTreeMap::new(),
            ended: BTreeSet::new(),
            due: BTreeMap::new(),
            paused: false,
            is_deaf: false,
            parked: BTreeSet::new(),
            breaker: BreakerState::Closed,
            probe: None,
            again: BTreeSet::new(),
            again_flights: BTreeSet::new(),
            convicted: None,
            lists_all: dice.one_in(2),
            lists_waiting: dice.one_in(2),
            trace: Vec::new(),
            starts: 0,
            out: Vec::new(),
            dice,
        }
    }

    fn note(&mut self, what: String) {
        self.trace.push(what);
    }

    fn stage(&mut self) {
        let Some(write) = self.unstaged.pop_front() else { return };
        self.note(format!("stage {write:?}"));
        self.staged.apply(&write);
        self.unsynced.push(write);
        self.history += 1;
    }

    /// What is staged is on disk: what it has made ready is handed on, and then those who asked are answered, at once
    /// or a while later.
    fn sync(&mut self) {
        self.tell();
        self.synced = self.history;
        for write in std::mem::take(&mut self.unsynced) {
            self.durable.apply(&write);
            match write {
                Write::Publish(..) => {
                    let ordinal = self.tail();
                    if self.is_deaf {
                        // It is found when the core is to be told again.
                    } else if self.dice.one_in(10) {
                        self.core.noticed(ordinal);
                    } else {
                        self.core.appended(self.durable.arrival(ordinal));
                    }
                }
                Write::Settle(..) | Write::Defer(_) => self.untold.push_back(write),
                Write::Repair(ordinal, how) => {
                    self.ended.remove(&ordinal);
                    match how {
                        Mended::Released => {
                            self.ended.insert(ordinal);
                        }
                        Mended::Again => self.core.noticed(ordinal),
                        Mended::AgainAt(due) => {
                            self.due.insert(ordinal, due);
                        }
                    }
                    self.untold.push_back(write);
                }
            }
        }
        self.note("sync".to_owned());
        if self.dice.one_in(2) {
            self.tell();
        }
    }

    /// Those who asked for a write hear that it is on disk.
    fn tell(&mut self) {
        for write in std::mem::take(&mut self.untold) {
            self.note(format!("tell {write:?}"));
            match write {
                Write::Publish(..) => {}
                Write::Settle(ordinal, _) | Write::Defer(ordinal) => self.core.settled(ordinal),
                Write::Repair(ordinal, how) => {
                    let key = self.durable.0[&ordinal].key.clone();
                    self.core.repaired(ordinal, &key, how);
                }
            }
        }
    }

    /// The store answers a question from what is staged now.
    fn answer(&mut self) {
        if self.questions.is_empty() {
            return;
        }
        let at = self.dice.below(self.questions.len());
        if matches!(self.questions[at], Question::Deferred { behind, .. } if behind > self.history) {
            return;
        }
        let question = self.questions.swap_remove(at);
        let cut = if self.dice.one_in(4) { 1 + self.dice.below(4) } else { usize::MAX };
        let answer = match question {
            Question::Fetch { after, limit } => {
                let waiting = self.lists_waiting;
                let fits = |row: &Row| {
                    row.state == State::Ready || (waiting && matches!(row.state, State::Waiting(_)))
                };
                let found = self.find(cut.min(limit), |ordinal, row| ordinal > after && fits(row));
                Answer::Fetch { after, found }
            }
            Question::Deferred { key, limit, behind: _ } => {
                let listed = self.staged.deferred(&key).into_iter().take(cut.min(limit));
                let found = listed.map(|ordinal| self.staged.arrival(ordinal)).collect();
                Answer::Deferred { key, found }
            }
            Question::Load { ordinal } => {
                let is_open = self.staged.0.get(&ordinal).is_some_and(|row| row.state != State::Through);
                Answer::Load { ordinal, found: is_open.then(|| self.staged.arrival(ordinal)) }
            }
        };
        self.answers.push((self.history, answer));
    }

    fn find(&self, limit: usize, fits: impl Fn(Ordinal, &Row) -> bool) -> Vec<Arrival<()>> {
        let found = self.staged.0.iter().filter(|&(&ordinal, row)| fits(ordinal, row));
        found.map(|(&ordinal, _)| self.staged.arrival(ordinal)).take(limit).collect()
    }

    /// An answer reaches the core; what it stands on is on disk by then.
    fn deliver(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let at = self.dice.below(self.answers.len());
        let (seen, answer) = self.answers.swap_remove(at);
        if seen > self.synced {
            self.sync();
        }
        self.note(format!("deliver {answer:?}"));
        match answer {
            Answer::Fetch { after, found } => self.core.fetched(after, found),
            Answer::Deferred { key, found } => self.core.fetched_deferred(&key, found),
            Answer::Load { ordinal, found } => {
                if found.is_some() {
                    self.again.insert(ordinal);
                }
                self.core.loaded(ordinal, found);
            }
        }
    }

    /// The last place of the queue.
    fn tail(&self) -> Ordinal {
        Ordinal(self.durable.0.len() as u64)
    }

    /// As the actor does: what was published while the core was not told is found when it is to be told again.
    fn poll(&mut self) {
        loop {
            self.poll_once();
            let was_deaf = std::mem::replace(&mut self.is_deaf, self.core.is_deaf());
            if !was_deaf || self.is_deaf {
                return;
            }
            self.core.noticed(self.tail());
        }
    }

    fn poll_once(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        if self.dice.one_in(3) {
            self.core.woken();
        }
        self.core.poll(self.now, &mut out);
        let mut asides = Vec::new();
        for action in out.drain(..) {
            self.note(format!("{action:?}"));
            match action {
                Action::Fetch { after, limit } => self.questions.push(Question::Fetch { after, limit }),
                Action::FetchDeferred { key, limit } => {
                    asides.push((key.to_string(), limit));
                }
                Action::Load { ordinal } => self.questions.push(Question::Load { ordinal }),
                Action::Start(start) => self.check_start(&start),
                Action::GiveUp(given_up) => self.check_given_up(&given_up),
                Action::Breaker(state) => {
                    assert_ne!(state, self.breaker, "a turn that is none");
                    self.breaker = state;
                    self.probe = None;
                }
                Action::Defer { ordinal, .. } => self.unstaged.push_back(Write::Defer(ordinal)),
                Action::WakeAt(at) => assert!(at > self.now, "a timer for the past"),
            }
        }
        let behind = self.history + self.unstaged.len();
        self.questions.extend(asides.into_iter().map(|(key, limit)| Question::Deferred {
            key,
            limit,
            behind,
        }));
        self.out = out;
        assert!(self.core.held() <= self.core.window(), "{} held", self.core.held());
        assert_eq!(self.core.inflight(), self.flights.len());
        let fetches =
            self.questions.iter().filter(|question| matches!(question, Question::Fetch { .. })).count();
        assert!(fetches <= 1, "{fetches} questions for the queue at once");
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..=14 if self.is_quiet => {
                let how = self.decision();
                self.repair(how);
            }
            0..=14 => {
                let keys = if self.dice.one_in(3) { 20 } else { 3 };
                let key = format!("k{}", self.dice.below(keys));
                let expires = self.dice.one_in(8).then(|| self.now.plus_millis(self.dice.below(100) as u64));
                self.unstaged.push_back(Write::Publish(key, expires));
            }
            15..=29 => self.stage(),
            30..=37 => self.sync(),
            38..=49 => self.answer(),
            50..=61 => self.deliver(),
            62..=76 => self.finish(false),
            77..=81 => self.now = self.now.plus_millis(self.dice.below(40) as u64),
            82..=96 => self.poll(),
            97 if self.dice.one_in(3) => self.hasten(),
            97 => {
                let how = self.decision();
                self.repair(how);
            }
            98 => match self.dice.below(5) {
                0 | 1 => self.crash(),
                2 | 3 => self.park(),
                _ => self.reload(),
            },
            _ => {
                self.paused = !self.paused && self.dice.one_in(2);
                self.core.pause(self.paused);
            }
        }
    }

    /// From here on everything goes well: all of it must come to rest.
    fn settle_down(&mut self) {
        self.paused = false;
        self.core.pause(false);
        self.resume_all();
        for _ in 0..20_000 {
            self.poll();
            while !self.flights.is_empty() {
                self.finish(true);
            }
            self.answer();
            self.deliver();
            while !self.unstaged.is_empty() {
                self.stage();
            }
            self.sync();
            self.tell();
            self.now = self.now.plus_millis(50);
            let how = self.decision();
            self.repair(how);
            if self.durable.0.values().all(|row| row.state == State::Through) && self.core.is_idle() {
                break;
            }
        }
        let open: Vec<_> = self.durable.0.iter().filter(|(_, row)| row.state != State::Through).collect();
        assert!(open.is_empty(), "never came to an end: {open:?}: {:?}", self.core.lanes);
        assert_eq!(
            (self.core.lanes(), self.core.held(), self.core.waiting(), self.core.parked()),
            (0, 0, 0, 0),
            "lanes, held, waiting, parked at the end: {:?}",
            self.core.lanes
        );
        assert!(self.core.is_idle());
        assert_eq!(self.core.keys_parked(), 0);
    }
}

fn some_breaker(dice: &mut Dice) -> Option<BreakerSettings> {
    dice.one_in(2).then(|| BreakerSettings {
        failures: 1 + u32::try_from(dice.below(4)).unwrap(),
        window: Duration::from_millis(100),
        probe: Duration::from_millis(dice.below(40) as u64),
    })
}

/// Plays one seed; answers with the whole history.
fn play(seed: u64) -> (usize, Vec<String>) {
    let mut world = World::new(seed);
    let steps = 400 + world.dice.below(1_600);
    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for _ in 0..steps {
            world.step();
        }
        // Until something is published, what lies aside is over all that a new process knows of.
        if world.dice.one_in(2) {
            world.is_quiet = true;
            (0..60).for_each(|_| world.step());
            world.crash();
            (0..400).for_each(|_| world.step());
        }
        world.settle_down();
    }));
    if let Err(cause) = played {
        if std::env::var_os("TIDEGATE_SEED").is_some() {
            println!("{:?}", world.settings);
            println!("{}", world.trace.join("\n"));
        }
        println!("seed {seed} failed; play it again with TIDEGATE_SEED={seed}");
        std::panic::resume_unwind(cause);
    }
    (world.starts, world.trace)
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

#[test]
fn no_history_breaks_a_promise_of_the_core() {
    if let Some(seed) = number_from("TIDEGATE_SEED") {
        play(seed);
        return;
    }
    let seeds = number_from("TIDEGATE_SEEDS").unwrap_or(SEEDS);
    println!("seeds 0 to {seeds}");

    let starts: usize = (0..seeds).map(|seed| play(seed).0).sum();

    assert!(starts > usize::try_from(seeds).unwrap() * 20, "only {starts} attempts in {seeds} histories");
}

#[test]
fn a_seed_plays_the_same_history_again() {
    for seed in 0..20 {
        assert_eq!(play(seed), play(seed), "seed {seed}");
    }
}
