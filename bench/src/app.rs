//! The application that is measured: written as any user of Tidegate writes his.
//!
//! Five hops that each keep a state and emit the next event, a listener for a fan-out, a step that drains, and
//! one that fails for ever on some events. What the benchmark has to know, the steps tell a [`Tally`].

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate::cli::App;
use tidegate::config::{self, Settings};
use tidegate::prelude::*;
use tokio::sync::Notify;

use crate::Outcome;

/// Bytes of every payload.
pub(crate) const PAYLOAD: usize = 256;
/// Events of a subscription that are handled at a time; the peers' consumers read as many at once.
pub(crate) const CONCURRENCY: u32 = 256;
/// Keys of the events: those of one key are handled in order, and each hop keeps a state for each key.
const KEYS: u64 = 10_000;

/// The key of the events that [`Take`] is slow with, and does not tell its tally of.
pub(crate) const HOT: &str = "hot";
/// How long it takes for one of them: so long that they take no processor from the others, and pile up.
const SLOW: Duration = Duration::from_millis(5);

/// The name of the event that only the `drain` subscription hears.
pub(crate) const INGESTED: &str = "bench.ingested";
/// The name of the event that five subscriptions hear.
pub(crate) const TOLD: &str = "bench.told";
/// The name of the event whose step fails when it says so.
pub(crate) const WORK: &str = "bench.work";
/// The name of the event that begins the chain.
pub(crate) const HOP: &str = "bench.hop_1";

/// As the command line serves it.
pub(crate) const APP: App = App { name: "bench", steps: |_: &Settings| Ok(steps(&Tally::default())?) };

/// The payload of every event: [`PAYLOAD`] bytes of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Load {
    n: u64,
    key: String,
    fails: bool,
    pad: String,
}

impl Load {
    /// The load of event `n`.
    pub(crate) fn new(n: u64, fails: bool) -> Self {
        Self::with_key(n, fails, format!("k{}", n % KEYS))
    }

    /// The load of event `n` with a key of its own choice.
    pub(crate) fn with_key(n: u64, fails: bool, key: String) -> Self {
        let mut load = Self { n, key, fails, pad: String::new() };
        let bare = load.json().len();
        load.pad = "x".repeat(PAYLOAD.saturating_sub(bare));
        load
    }

    /// Its JSON.
    pub(crate) fn json(&self) -> Vec<u8> {
        // It cannot fail: there is no map and no foreign type in it.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads it, as a consumer of a peer does.
    pub(crate) fn read(json: &[u8]) -> Outcome<Self> {
        Ok(serde_json::from_slice(json)?)
    }

    /// The key of its state.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }
}

/// What has been handled, for those who wait for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    handled: AtomicU64,
    wanted: AtomicU64,
    reached: Notify,
    slots: Slots,
}

/// Room of a window of flows; a flow that is handled gives its room back.
type Slots = std::sync::OnceLock<Arc<tokio::sync::Semaphore>>;

impl Tally {
    /// One more is handled.
    pub(crate) fn handled(&self) {
        let handled = self.0.handled.fetch_add(1, Ordering::AcqRel) + 1;
        if handled == self.0.wanted.load(Ordering::Acquire) {
            self.0.reached.notify_one();
        }
        if let Some(slots) = self.0.slots.get() {
            slots.add_permits(1);
        }
    }

    /// How many are.
    pub(crate) fn count(&self) -> u64 {
        self.0.handled.load(Ordering::Acquire)
    }

    /// Waits until `wanted` are.
    pub(crate) async fn reaches(&self, wanted: u64) {
        self.0.wanted.store(wanted, Ordering::Release);
        while self.count() < wanted {
            let looked = Duration::from_millis(20);
            drop(tokio::time::timeout(looked, self.0.reached.notified()).await);
        }
    }

    /// A window of so many flows: take a permit and forget it, the last step gives it back.
    pub(crate) fn window(&self, size: usize) -> Arc<tokio::sync::Semaphore> {
        Arc::clone(self.0.slots.get_or_init(|| Arc::new(tokio::sync::Semaphore::new(size))))
    }
}

/// What each hop of the chain remembers of its key.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Seen {
    count: u64,
}

macro_rules! event {
    ($type:ident, $name:expr) => {
        #[derive(Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        struct $type(Load);

        impl Event for $type {
            const NAME: &'static str = $name;

            fn key(&self) -> Cow<'_, str> {
                (&self.0.key).into()
            }
        }
    };
}

macro_rules! hop {
    ($step:ident $name:literal, $event:ident -> $next:ident) => {
        struct $step;

        impl Step for $step {
            const NAME: &'static str = $name;
            type State = Seen;
        }

        impl On<$event> for $step {
            type Emits = $next;

            async fn on(&self, event: $event, seen: &mut Seen, _: &StepContext) -> Result<$next, StepError> {
                seen.count += 1;
                Ok($next(event.0))
            }
        }
    };
}

event!(Hop1, HOP);
event!(Hop2, "bench.hop_2");
event!(Hop3, "bench.hop_3");
event!(Hop4, "bench.hop_4");
event!(Hop5, "bench.hop_5");
event!(Ingested, INGESTED);
event!(Told, TOLD);
event!(Work, WORK);

hop!(First "hop_1", Hop1 -> Hop2);
hop!(Second "hop_2", Hop2 -> Hop3);
hop!(Third "hop_3", Hop3 -> Hop4);
hop!(Fourth "hop_4", Hop4 -> Hop5);

/// The end of the chain.
struct Fifth(Tally);

impl Step for Fifth {
    const NAME: &'static str = "hop_5";
    type State = Seen;
}

impl On<Hop5> for Fifth {
    type Emits = ();

    async fn on(&self, _: Hop5, seen: &mut Seen, _: &StepContext) -> Result<(), StepError> {
        seen.count += 1;
        self.0.handled();
        Ok(())
    }
}

/// Takes events of a name and does nothing with them; fails those that say so, every time, and is slow with
/// those of the key [`HOT`].
struct Take(Tally);

impl Step for Take {
    const NAME: &'static str = "take";
    type State = ();
}

macro_rules! take {
    ($event:ident) => {
        impl On<$event> for Take {
            type Emits = ();

            async fn on(&self, event: $event, (): &mut (), _: &StepContext) -> Result<(), StepError> {
                if event.0.fails {
                    return Err(StepError::retry("this one fails for ever"));
                }
                if event.0.key == HOT {
                    tokio::time::sleep(SLOW).await;
                    return Ok(());
                }
                self.0.handled();
                Ok(())
            }
        }
    };
}

take!(Ingested);
take!(Told);
take!(Work);

/// All steps; what the last ones handle is told to `tally`.
pub(crate) fn steps(tally: &Tally) -> Result<Registry, RegistryError> {
    Registry::new()
        .step(First)
        .on::<Hop1>()
        .step(Second)
        .on::<Hop2>()
        .step(Third)
        .on::<Hop3>()
        .step(Fourth)
        .on::<Hop4>()
        .step(Fifth(tally.clone()))
        .on::<Hop5>()
        .step(Take(tally.clone()))
        .on::<Ingested>()
        .on::<Told>()
        .on::<Work>()
        .check()
}

/// The wiring as a `topology.toml`: what a user would write, and no other setting than where the data lies.
pub(crate) fn wiring(data: &Path, pure: bool) -> String {
    let quoted = serde_json::Value::from(data.display().to_string());
    let mut text = format!("[store]\npath = {quoted}\n[http]\nbind = \"127.0.0.1:0\"\n");
    let mut wire = |name: &str, step: &str, on: &str, more: &str| {
        let lines = [
            &format!("[subscription.{name}]"),
            &format!("step = \"{step}\""),
            &format!("on = [\"{on}\"]"),
            &format!("concurrency = {CONCURRENCY}"),
            more,
            "\n",
        ];
        text.push_str(&lines.join("\n"));
    };
    for hop in 1..=5 {
        let name = format!("hop_{hop}");
        wire(&name, &name, &format!("bench.{name}"), &format!("pure = {pure}"));
    }
    for listener in 1..=5 {
        wire(&format!("listen_{listener}"), "take", TOLD, "");
    }
    wire("drain", "take", INGESTED, "");
    wire("work", "take", WORK, "retry = { max_attempts = 1000000 }");
    text
}

/// The same wiring, with a store that keeps payloads, statuses and ids no longer than `kept` after a flow is at rest.
pub(crate) fn wiring_that_forgets(data: &Path, kept: Duration) -> String {
    let kept = format!("\"{}ms\"", kept.as_millis());
    let forgets = format!("retention = {kept}\n[http]\nstatus_ttl = {kept}\ndedupe_window = {kept}\n");
    wiring(data, false).replacen("[http]\n", &forgets, 1)
}

/// The settings of [`wiring`]: all others are the product's defaults.
pub(crate) fn settings(data: &Path, pure: bool) -> Outcome<Settings> {
    let loaded = config::load_text(&wiring(data, pure)).map_err(|problems| problems.to_string())?;
    Ok(loaded.settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_payload_is_as_long_as_it_says() {
        for n in [0, 9, 12_345, 9_999_999] {
            assert_eq!(Load::new(n, n == 9).json().len(), PAYLOAD);
        }
    }

    #[test]
    fn a_payload_is_as_long_with_any_key() {
        assert_eq!(Load::with_key(7, false, "own-000000007".to_owned()).json().len(), PAYLOAD);
    }

    #[test]
    fn the_wiring_that_forgets_says_so() {
        let text = wiring_that_forgets(Path::new("data"), Duration::from_secs(90));

        let settings = config::load_text(&text).unwrap().settings;

        let kept = Duration::from_secs(90);
        assert_eq!(
            [settings.store.retention, settings.http.status_ttl, settings.http.dedupe_window],
            [kept; 3]
        );
    }

    #[test]
    fn the_wiring_fits_the_steps() {
        let settings = settings(Path::new("data"), true).unwrap();

        let problems = config::check(&settings, &steps(&Tally::default()).unwrap().catalog());

        assert!(!problems.has_errors(), "{problems}");
    }
}
