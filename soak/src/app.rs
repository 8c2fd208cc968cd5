//! The application under torment: written as any user of Tidegate writes his.
//!
//! `keep` enters each event into a ledger outside and counts it in its state; `later` does the same for events
//! that wait while it is paused; `tally` counts what both emit. Some events fail at first, some for good.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate::cli::App;
use tidegate::config::{self, Settings};
use tidegate::prelude::*;

use crate::Outcome;
use crate::dice::mix;
use crate::record::{Effect, Ledger};

/// The subscription that keeps events as they come.
pub(crate) const KEEP: &str = "keep";
/// The one that is paused for a while.
pub(crate) const LATER: &str = "later";
/// The one that hears what the other two emit.
pub(crate) const TALLY: &str = "tally";
/// The name of events for `keep`.
pub(crate) const PUT: &str = "soak.put";
/// The name of events for `later`.
pub(crate) const PUT_LATER: &str = "soak.put_later";

/// Names the ledger of a served application.
pub(crate) const LEDGER: &str = "SOAK_LEDGER";

/// As the command line serves it.
pub(crate) const APP: App = App {
    name: "soak",
    steps: |_: &Settings| {
        let path = std::env::var_os(LEDGER).ok_or("SOAK_LEDGER names no file")?;
        let ledger = Ledger::open(Path::new(&path)).map_err(|error| error.to_string())?;
        Ok(steps(&Arc::new(ledger))?)
    },
};

/// Whether the step refuses this event for good: it becomes a dead letter.
pub(crate) const fn fails_for_good(n: u64) -> bool {
    n % 101 == 100
}

/// Whether its first attempt fails.
const fn fails_at_first(n: u64) -> bool {
    n % 13 == 12
}

/// The payload of every event.
#[derive(Debug, Serialize, Deserialize)]
struct Load {
    key: String,
    n: u64,
    pad: String,
}

/// The payload of event `n` of a key: about `size` bytes that depend on all three, so that none is taken for
/// another.
pub(crate) fn payload(key: &str, n: u64, size: usize) -> Vec<u8> {
    let mut pad = String::with_capacity(size);
    let start = key.bytes().fold(n, |sum, byte| mix(sum ^ u64::from(byte)));
    let mut number = start;
    while pad.len() + 64 < size {
        number = mix(number.wrapping_add(1));
        for byte in number.to_be_bytes() {
            pad.push(char::from(b'a' + byte % 26));
        }
    }
    // It cannot fail: there is no map and no foreign type in it.
    serde_json::to_vec(&Load { key: key.to_owned(), n, pad }).unwrap_or_default()
}

/// What a step remembers of its key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Events.
    pub(crate) count: u64,
    /// Their numbers in order, folded into one.
    pub(crate) chain: u64,
}

impl Kept {
    /// One more.
    pub(crate) fn take(&mut self, n: u64) {
        self.count += 1;
        // 53 bits, which JSON keeps wherever it goes.
        self.chain = mix(self.chain ^ mix(n)) >> 11;
    }
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

event!(Put, PUT);
event!(PutLater, PUT_LATER);
event!(Done, "soak.done");

struct Keep(Arc<Ledger>);

impl Step for Keep {
    const NAME: &'static str = "keep";
    type State = Kept;
}

macro_rules! keep {
    ($event:ident) => {
        impl On<$event> for Keep {
            type Emits = Done;

            async fn on(&self, event: $event, kept: &mut Kept, cx: &StepContext) -> Result<Done, StepError> {
                let Load { key, n, .. } = event.0;
                if fails_for_good(n) {
                    return Err(StepError::fatal("refused", "this one is never taken"));
                }
                if fails_at_first(n) && cx.attempt() == 1 {
                    return Err(StepError::retry("not at the first time"));
                }
                let effect = Effect {
                    subscription: cx.subscription().to_owned(),
                    token: cx.effect_key("keep"),
                    id: cx.event_id().to_owned(),
                    key: key.clone(),
                    n,
                };
                let ledger = Arc::clone(&self.0);
                let entered = tokio::task::spawn_blocking(move || {
                    ledger.enter(&effect).map_err(|error| error.to_string())
                });
                entered
                    .await
                    .map_err(|error| StepError::retry(error.to_string()))?
                    .map_err(StepError::retry)?;
                kept.take(n);
                Ok(Done(Load { key, n, pad: String::new() }))
            }
        }
    };
}

keep!(Put);
keep!(PutLater);

struct Tally;

impl Step for Tally {
    const NAME: &'static str = "tally";
    type State = Kept;
}

impl On<Done> for Tally {
    type Emits = ();

    async fn on(&self, event: Done, kept: &mut Kept, _: &StepContext) -> Result<(), StepError> {
        kept.take(event.0.n);
        Ok(())
    }
}

/// All steps; effects go to the ledger.
pub(crate) fn steps(ledger: &Arc<Ledger>) -> Result<Registry, RegistryError> {
    Registry::new()
        .step(Keep(Arc::clone(ledger)))
        .on::<Put>()
        .on::<PutLater>()
        .step(Tally)
        .on::<Done>()
        .check()
}

/// How the store is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    /// KiB of a journal file.
    pub(crate) segment: u64,
    /// KiB of changes that start a checkpoint.
    pub(crate) checkpoint: u64,
    /// Seconds a payload is kept after its flow is at rest.
    pub(crate) retention: u64,
    /// Free KiB below which publishing is refused.
    pub(crate) reserve: u64,
}

impl Tuning {
    /// Small files and frequent checkpoints, for payloads of `size` bytes; payloads go after a second. For one of the sizes of the
    /// power cuts the files are as large as it takes for their room to be written ahead.
    pub(crate) const fn churning(size: usize) -> Self {
        let segment = match size >> 10 {
            0..16 => 64,
            16..64 => 8 << 10,
            _ => 2 << 10,
        };
        Self { segment, checkpoint: 48, retention: 1, reserve: 0 }
    }
}

/// The wiring as a `topology.toml`.
pub(crate) fn wiring(data: &Path, tuning: Tuning) -> String {
    let path = serde_json::Value::from(data.display().to_string());
    let Tuning { segment, checkpoint, retention, reserve } = tuning;
    format!(
        "[http]\nbind = \"127.0.0.1:0\"\nmax_body = \"4MiB\"\n\
         [store]\npath = {path}\nsegment_bytes = \"{segment}KiB\"\n\
         checkpoint_bytes = \"{checkpoint}KiB\"\n\
         checkpoint_interval = \"1s\"\nretention = \"{retention}s\"\ndisk_reserve = \"{reserve}KiB\"\n\
         [defaults.retry]\nmax_attempts = 100\nexhausted = \"skip\"\n\
         backoff = {{ first = \"5ms\", factor = 2.0, max = \"50ms\", jitter = 0.0 }}\n\
         [subscription.{KEEP}]\nstep = \"keep\"\non = [\"{PUT}\"]\n\
         [subscription.{LATER}]\nstep = \"keep\"\non = [\"{PUT_LATER}\"]\n\
         [subscription.{TALLY}]\nstep = \"tally\"\non = [\"soak.done\"]\n"
    )
}

/// The settings of that wiring.
pub(crate) fn settings(data: &Path, tuning: Tuning) -> Outcome<Settings> {
    let loaded = config::load_text(&wiring(data, tuning)).map_err(|problems| problems.to_string())?;
    Ok(loaded.settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wiring_fits_the_steps() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::open(&folder.path().join("ledger")).unwrap());
        let settings = settings(Path::new("data"), Tuning::churning(100)).unwrap();

        let problems = config::check(&settings, &steps(&ledger).unwrap().catalog());

        assert!(!problems.has_errors(), "{problems}");
    }

    #[test]
    fn payloads_are_as_long_as_they_say_and_all_different() {
        for size in [100, 8 << 10, 1 << 20] {
            let one = payload("k0", 1, size);
            assert!(one.len() <= size && one.len() + 64 > size, "{} of {size}", one.len());
            assert_ne!(one, payload("k0", 2, size));
            assert_ne!(one, payload("k1", 1, size));
        }
    }
}
