//! The process under torment: the real runtime on a data folder, with publishers that write down what they are
//! acknowledged. It is this program again, as a child that the driver lets die.
//!
//! ```text
//! start ─> at rest ─> observe, written as a file ─> publish until it dies, or for a while and an orderly end
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tidegate::bus::{Accepted, Bus, Operator, PublishError, QueryError};
use tidegate::clock::Clock;
use tidegate::event::{Draft, EventName};
use tidegate::runtime::{self, Running};

use crate::app::{self, KEEP, Kept, LATER, PUT, PUT_LATER, TALLY, Tuning};
use crate::check::{Observed, Payload, Seen};
use crate::dice::Dice;
use crate::record::{Acked, Effect, Ledger, Lines, read};
use crate::time::nanos;
use crate::{Outcome, fail, say};

/// Publishers; each has keys of its own, so that the order within a key is known.
const PUBLISHERS: u64 = 6;
/// Keys of a publisher.
const KEYS: u64 = 2;
/// Numbers of one life for each key. The next one begins behind them: what was published and never answered
/// for may be there under its number.
const NUMBERS: u64 = 100_000;
/// How often a bus that comes to rest is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What the child is to do.
#[derive(Debug, Clone, Args)]
pub(crate) struct WorkArgs {
    /// The data folder: on the file system under test.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// The folder of the oracle: on another one.
    #[arg(long)]
    pub(crate) oracle: PathBuf,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 100)]
    pub(crate) size: usize,
    /// Seconds that payloads are kept once they are at rest.
    #[arg(long, default_value_t = 1)]
    pub(crate) retention: u64,
    /// Milliseconds to publish for before an orderly end; without it until the process dies.
    #[arg(long)]
    pub(crate) publish: Option<u64>,
    /// Also publishes what stays: for the paused subscription, and what becomes a dead letter. Both pin the journal.
    #[arg(long)]
    pub(crate) pins: bool,
    /// Milliseconds without a change, at the least, after which a restarted bus is taken for one that does not come to rest.
    #[arg(long, default_value_t = 30_000)]
    pub(crate) rest: u64,
    /// Lets the paused subscription go on before anything is observed.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Dies at this fail point: its name, a colon, how often it is reached before.
    #[arg(long)]
    pub(crate) fail: Option<String>,
    /// Seed of what is published.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// The files of the oracle.
#[derive(Debug, Clone)]
pub(crate) struct Oracle(pub(crate) PathBuf);

impl Oracle {
    /// What was acknowledged.
    pub(crate) fn record(&self) -> PathBuf {
        self.0.join("acknowledged")
    }

    /// Which effects the steps had.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.0.join("ledger")
    }

    /// What a restarted bus told.
    pub(crate) fn observed(&self) -> PathBuf {
        self.0.join("observed.json")
    }

    /// Fail points that were reached.
    #[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "without them nothing is reached"))]
    pub(crate) fn reached(&self) -> PathBuf {
        self.0.join("reached")
    }
}

/// Runs the child.
pub(crate) fn run(args: &WorkArgs) -> Outcome<()> {
    fail::arm(args)?;
    let oracle = Oracle(args.oracle.clone());
    let tuning = Tuning { retention: args.retention, ..Tuning::churning(args.size) };
    let ledger = Arc::new(Ledger::open(&oracle.ledger())?);
    let settings = app::settings(&args.data, tuning)?;
    let running = runtime::start(&settings, app::steps(&ledger)?, &Clock::wall())?;
    let callers = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let lived = callers.block_on(live(&running, args, &oracle));
    drop(callers);
    lived?;
    Ok(running.shut_down(Duration::from_secs(5))?)
}

async fn live(running: &Running, args: &WorkArgs, oracle: &Oracle) -> Outcome<()> {
    let bus = running.bus();
    if args.resume {
        bus.pause(LATER, false, operator()).await?;
    }
    let restless = rest(bus, Duration::from_millis(args.rest)).await?;
    let observed = Observed { restless, ..observe(bus, oracle).await? };
    let beside = oracle.0.join("observed.tmp");
    std::fs::write(&beside, serde_json::to_vec(&observed)?)?;
    std::fs::rename(&beside, oracle.observed())?;
    say("observed");
    if args.publish == Some(0) {
        return Ok(());
    }
    if !args.resume {
        bus.pause(LATER, true, operator()).await?;
    }
    let publishing = publish(bus, args, oracle);
    match args.publish {
        None => publishing.await?,
        Some(millis) => {
            if let Ok(ended) = tokio::time::timeout(Duration::from_millis(millis), publishing).await {
                ended?;
            }
        }
    }
    Ok(())
}

fn operator() -> Operator {
    Operator { by: "soak".to_owned(), reason: String::new() }
}

/// Waits until nothing moves; what has not changed for as many looks as fit into `patience`, stands in the answer. Looks are
/// counted, not time: a process that was stopped for a while has not looked meanwhile, and what it sees then still moves.
async fn rest(bus: &Bus, patience: Duration) -> Outcome<Vec<String>> {
    let (most, mut looks, mut last) = (patience.as_millis() / LOOK.as_millis(), 0, Vec::new());
    loop {
        let subscriptions = bus.subscriptions().await?;
        let moving =
            subscriptions.iter().filter(|s| (s.backlog > 0 || s.inflight > 0) && s.state != "paused");
        let moving: Vec<String> = moving
            .map(|s| format!("{} has a backlog of {} and {} in flight", s.name, s.backlog, s.inflight))
            .collect();
        if moving.is_empty() || looks >= most {
            return Ok(moving);
        }
        looks += 1;
        if moving != last {
            (looks, last) = (0, moving);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks for everything that the oracle knows of.
async fn observe(bus: &Bus, oracle: &Oracle) -> Outcome<Observed> {
    let (acked, effects) = (read::<Acked>(&oracle.record())?, read::<Effect>(&oracle.ledger())?);
    let known: BTreeSet<&str> = acked.iter().map(|event| event.id.as_str()).collect();
    let mut observed = Observed { acked: acked.len(), effects: effects.len(), ..Observed::default() };
    for event in &acked {
        let payload = app::payload(&event.key, event.n, event.size);
        look(bus, &mut observed, &event.id, Some(&payload)).await?;
    }
    for effect in effects.iter().filter(|effect| !known.contains(effect.id.as_str())) {
        look(bus, &mut observed, &effect.id, None).await?;
    }
    let keys: BTreeSet<String> = effects.into_iter().map(|effect| effect.key).collect();
    for subscription in [KEEP, LATER, TALLY] {
        for key in &keys {
            match bus.state(subscription, key).await {
                Ok(state) => {
                    let kept: Kept = serde_json::from_str(state.get())?;
                    observed.states.entry(subscription.to_owned()).or_default().insert(key.clone(), kept);
                }
                Err(QueryError::NotFound { .. }) => {}
                Err(error) => observed.told.push(format!("state of {key}: {error}")),
            }
        }
    }
    Ok(observed)
}

async fn look(bus: &Bus, observed: &mut Observed, id: &str, published: Option<&[u8]>) -> Outcome<()> {
    let status = match bus.status(Draft::PLAIN_SOURCE, id).await {
        Ok(status) => status,
        Err(QueryError::NotFound { .. } | QueryError::Gone { .. }) => return Ok(()),
        Err(error) => {
            observed.told.push(format!("event {id}: {error}"));
            return Ok(());
        }
    };
    let payload = match bus.envelope(Draft::PLAIN_SOURCE, id).await {
        Ok(event) if published.is_none_or(|published| event.data == published) => Payload::Same,
        Ok(_) => Payload::Changed,
        Err(QueryError::Gone { .. }) => Payload::Gone,
        Err(error) => {
            observed.told.push(format!("event {id}: {error}"));
            Payload::Told
        }
    };
    observed.events.insert(id.to_owned(), Seen { open: status.open, dead: status.dead, payload });
    Ok(())
}

async fn publish(bus: &Bus, args: &WorkArgs, oracle: &Oracle) -> Outcome<()> {
    let lives = oracle.0.join("lives");
    let life = read::<u64>(&lives)?.len() as u64;
    Lines::open(&lives)?.add(&[life])?;
    let record = Arc::new(Lines::open(&oracle.record())?);
    let mut publishers = tokio::task::JoinSet::new();
    for number in 0..PUBLISHERS {
        let keys = (0..KEYS).map(|key| {
            let key = format!("k{number}-{key}");
            (key, life * NUMBERS + 1)
        });
        let publisher = Publisher {
            bus: bus.clone(),
            record: Arc::clone(&record),
            keys: keys.collect(),
            size: args.size,
            pins: args.pins,
            dice: Dice::new(args.seed ^ number),
        };
        publishers.spawn(publisher.run());
    }
    // The first one that ends, ends with a reason.
    match publishers.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

/// Publishes one batch after the other, each of one key.
struct Publisher {
    bus: Bus,
    record: Arc<Lines>,
    keys: Vec<(String, u64)>,
    size: usize,
    pins: bool,
    dice: Dice,
}

impl Publisher {
    async fn run(mut self) -> Outcome<()> {
        loop {
            let batch = self.batch();
            if batch.is_empty() {
                continue;
            }
            let drafts = batch.iter().map(draft).collect::<Outcome<Vec<Draft>>>()?;
            self.until_taken(&drafts).await?;
            self.record.add(&batch)?;
            if self.dice.roll(16) == 0 {
                let again = self.until_taken(&drafts).await?;
                if !again.iter().all(|accepted| accepted.replayed) {
                    return Err(format!("a repeat was taken for new: {again:?}").into());
                }
            }
        }
    }

    fn batch(&mut self) -> Vec<Acked> {
        let count = if self.dice.roll(4) == 0 { 1 + self.dice.roll(5) } else { 1 };
        let at = usize::try_from(self.dice.roll(KEYS)).unwrap_or_default();
        // Large events are rare among those that stay: they fill the disk of the test.
        let later = self.dice.roll(if self.size > 64 << 10 { 40 } else { 12 }) == 0 && self.pins;
        let Some((key, next)) = self.keys.get_mut(at) else { return Vec::new() };
        let first = *next;
        *next += count;
        let (began, size) = (nanos(), self.size);
        let event = |n| Acked { id: format!("{key}-{n}"), key: key.clone(), n, size, later, began };
        let pins = self.pins;
        (first..first + count).filter(|n| pins || !app::fails_for_good(*n)).map(event).collect()
    }

    /// Publishes until there is a yes; anything that may pass is tried again with the same ids.
    async fn until_taken(&self, drafts: &[Draft]) -> Outcome<Vec<Accepted>> {
        loop {
            match self.bus.publish(drafts.to_vec()).await {
                Ok(accepted) => return Ok(accepted),
                Err(PublishError::Saturated { .. } | PublishError::DiskFull { .. }) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn draft(event: &Acked) -> Outcome<Draft> {
    let name = EventName::new(if event.later { PUT_LATER } else { PUT })?;
    let mut draft = Draft::json(name, app::payload(&event.key, event.n, event.size).into());
    draft.id = Some(event.id.clone());
    Ok(draft)
}

/// What the oracle had when the last restart looked, and what that told.
pub(crate) fn books(oracle: &Path) -> Outcome<(Vec<Acked>, Vec<Effect>, Observed)> {
    let oracle = Oracle(oracle.to_owned());
    let observed: Observed = serde_json::from_slice(&std::fs::read(oracle.observed())?)?;
    let (mut acked, mut effects): (Vec<Acked>, Vec<Effect>) =
        (read(&oracle.record())?, read(&oracle.ledger())?);
    acked.truncate(observed.acked);
    effects.truncate(observed.effects);
    Ok((acked, effects, observed))
}
