//! View: everything the store knows, as rows, and the one way in which changes become rows.
//!
//! Both engines use it. [`View::stage`] decides what a change means (order, repeats, numbers) and applies
//! it; the [`Entry`]s it answers are what the journal keeps, and [`View::replay`] applies them again with
//! the same result. Subscriptions and counters are held decoded ("hot") and written as rows when the
//! layer is frozen. Payloads are not here: a [`Payloads`] finds them.
//!
//! ```text
//! Change ──stage──> Entry ──apply──> rows          (while running)
//! journal ────────> Entry ──replay─> rows          (recovery)
//! ```

mod along;
mod apply;
mod at_hand;
mod attach;
mod audit;
mod check;
mod dedupe;
mod entry;
mod event_row;
mod export;
mod flow;
mod flow_index;
mod forget;
#[cfg(test)]
mod forget_tests;
mod frozen;
mod groups;
mod grown;
mod heads;
mod hot;
#[cfg(test)]
mod hot_tests;
mod index;
mod kept;
pub(super) mod keys;
mod mend;
mod old_flows;
mod old_lists;
mod oldest;
mod pending;
mod queue;
mod read;
mod replay;
mod search;
mod sieve;
mod spelled;
mod stage;
mod step_states;
mod timed;
mod undo;
mod unheard;
mod upkeep;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::dedupe::Buckets;
use self::event_row::{EventLast, EventMore, EventRow};
use self::grown::Grown;
use self::keys::Key;
use self::queue::Subscription;
use super::journal::Location;
use super::rows::Rows;
use super::{Commit, Seq, StoreError, StoreSettings, SubscriptionId};
use crate::event::{Envelope, Identity, Timestamp};

pub(super) use apply::Effects;
pub(super) use check::{OpenDelivery, describe as describe_row, is_open as is_open_delivery};
pub(super) use entry::{Act, Entry, GroupHead, VERSION};
pub(super) use forget::Forgetting;
pub(super) use frozen::Frozen;
pub(super) use read::{Candidate, Rest, Trace};
pub(super) use search::Source;
pub(super) use upkeep::Outlived;

/// Finds the payload of an event, which the view does not hold.
pub(super) trait Payloads: Send + Sync + std::fmt::Debug {
    /// Where the events are, one answer for each, as far as that needs the view.
    fn places(&self, view: &View, seqs: &[Seq]) -> Result<Vec<Option<Place>>, StoreError>;

    /// Where one event is.
    fn place(&self, view: &View, seq: Seq) -> Result<Option<Place>, StoreError> {
        Ok(self.places(view, &[seq])?.pop().flatten())
    }

    /// Fetches events from their places, which come in order; may block on the disk.
    fn fetch(&self, places: Vec<(Seq, Place)>) -> Result<Vec<Stored>, StoreError>;

    /// The first event whose payload is still there.
    fn first(&self, view: &View) -> Result<Seq, StoreError>;
}

/// Where a payload is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In memory.
    Here(Stored),
    /// In the journal.
    File(Location),
}

/// An event with the time it could be handled from.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) event: Arc<Envelope>,
    pub(super) ready: Timestamp,
}

/// Counters and buckets, held decoded.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Head {
    commit: Commit,
    at: Timestamp,
    seqs: u64,
    subscriptions: u32,
    dedupe: Buckets,
    #[serde(skip)]
    more: HeadMore,
}

/// What version 1 did not have.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct HeadMore {
    /// Events that nobody listened to.
    unrouted: u64,
    /// Every dead letter stands in a group.
    is_grouped: bool,
    /// Events that are delayed now; `None` in a row of version 1.
    delayed: Option<u64>,
}

impl Grown for Head {
    type More = HeadMore;
    fn more(&self) -> &HeadMore {
        &self.more
    }
    fn more_mut(&mut self) -> &mut HeadMore {
        &mut self.more
    }
}

/// The settings that the view needs.
#[derive(Debug, Clone, Copy)]
struct Limits {
    status_ttl_ms: u64,
    dedupe_window_ms: u64,
    dedupe_max_bytes: u64,
}

impl Limits {
    const fn bucket_ms(self) -> u64 {
        let part = self.dedupe_window_ms / dedupe::TIME_SHARES;
        if part == 0 { 1 } else { part }
    }
}

/// The materialised view.
#[derive(Debug)]
pub(super) struct View {
    rows: Rows,
    head: Head,
    subscriptions: BTreeMap<SubscriptionId, Subscription>,
    limits: Limits,
    origin: PathBuf,
    /// Where the index of flows at rest began when it was looked at last; staging only.
    rested_from: Option<Vec<u8>>,
    hot: hot::Hot,
    cooling: Option<Arc<hot::Hot>>,
    /// The last event that was there when rows were frozen last.
    folded: Seq,
    /// The same of the time before, which is in the rows beneath what is frozen.
    beneath: Seq,
    oldest: oldest::Oldest,
    flows: flow_index::FlowBuckets,
    /// Which dedupe buckets cannot hold an id.
    sieves: sieve::Sieves,
    /// The bucket of ids that a checkpoint has taken some of, and closes if those are not few; staging only.
    closes: u32,
    /// How many ids outlive their bucket.
    kept: u64,
    /// The bucket whose ids are being forgotten; staging only.
    forgetting: Option<forget::Bucketful>,
    /// The first events of flows that are about to expire; staging only: a replay asks for their names.
    expiring: foldhash::HashMap<String, Seq>,
    /// A flow has expired in part; staging only.
    is_halfway: bool,
    /// Subscriptions that not everybody who routes knows yet; staging only.
    attached: Vec<attach::Attached>,
    /// Ids that were forgotten, for whoever keeps what he has read by them.
    forgotten: Vec<Identity>,
}

impl View {
    /// Reads counters and subscriptions from `rows`. `origin` is named when a row is damaged.
    pub(super) fn load(rows: Rows, settings: &StoreSettings, origin: PathBuf) -> Result<Self, StoreError> {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let limits = Limits {
            status_ttl_ms: millis(settings.status_ttl),
            dedupe_window_ms: millis(settings.dedupe_window),
            dedupe_max_bytes: settings.dedupe_max_bytes,
        };
        let mut view = Self {
            rows,
            head: Head::default(),
            subscriptions: BTreeMap::new(),
            limits,
            origin,
            rested_from: None,
            hot: hot::Hot::default(),
            cooling: None,
            folded: Seq(0),
            beneath: Seq(0),
            oldest: oldest::Oldest::default(),
            flows: flow_index::FlowBuckets::default(),
            sieves: sieve::Sieves::default(),
            closes: 0,
            kept: 0,
            forgetting: None,
            expiring: foldhash::HashMap::default(),
            is_halfway: false,
            attached: Vec::new(),
            forgotten: Vec::new(),
        };
        view.head = view.get_grown(&keys::head())?.unwrap_or_default();
        view.folded = Seq(view.head.seqs);
        view.count_delayed_once()?;
        let all = keys::subscriptions();
        for (key, value) in view.rows.scan(&all.clone().bytes(), &all.end(), usize::MAX)? {
            let subscription = view.decode_grown(&key, &value)?;
            if let Some(id) = keys::subscription_of(&key) {
                view.subscriptions.insert(id, subscription);
            }
        }
        view.fill_sieves()?;
        view.load_flows()?;
        view.move_old_lists()?;
        view.group_all()?;
        Ok(view)
    }

    /// Applies one entry of the journal again.
    pub(super) fn replay(
        &mut self,
        commit: Commit,
        at: Timestamp,
        entry: &Entry,
    ) -> Result<Effects, StoreError> {
        self.begin(commit, at);
        self.apply(entry)
    }

    /// The newest commit applied.
    pub(super) fn commit(&self) -> Commit {
        self.head.commit
    }

    /// Bus time of the newest group.
    pub(super) fn latest(&self) -> Timestamp {
        self.head.at
    }

    /// Events stored since the beginning.
    pub(super) fn events_stored(&self) -> u64 {
        self.head.seqs
    }

    /// The rows, for what an engine keeps in them itself.
    pub(super) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The rows, for what an engine keeps in them itself.
    pub(super) fn rows_mut(&mut self) -> &mut Rows {
        &mut self.rows
    }

    /// Writes what is held decoded and not by the row.
    fn write_heads(&mut self) -> Result<(), StoreError> {
        let head = self.head.clone();
        self.put_grown(keys::head(), &head)?;
        for (id, subscription) in std::mem::take(&mut self.subscriptions) {
            self.put_grown(keys::subscription(id), &subscription)?;
            self.subscriptions.insert(id, subscription);
        }
        self.write_sieves();
        self.write_flows()
    }

    fn begin(&mut self, commit: Commit, at: Timestamp) {
        self.head.commit = commit;
        self.head.at = at;
    }

    fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, StoreError> {
        let key = key.clone().bytes();
        self.rows.get(&key)?.map(|value| self.decode(&key, &value)).transpose()
    }

    fn put<T: Serialize>(&mut self, key: Key, value: &T) -> Result<(), StoreError> {
        let key = key.bytes();
        let bytes = postcard::to_stdvec(value).map_err(|error| self.damaged(&key, &error))?;
        self.rows.put(key, Bytes::from(bytes));
        Ok(())
    }

    /// Reads a row of the engine's own.
    pub(super) fn decode_row<T: DeserializeOwned>(&self, key: &[u8], value: &[u8]) -> Result<T, StoreError> {
        self.decode(key, value)
    }

    /// Packs a row of the engine's own.
    pub(super) fn encode_row<T: Serialize>(&self, key: &[u8], value: &T) -> Result<Vec<u8>, StoreError> {
        postcard::to_stdvec(value).map_err(|error| self.damaged(key, &error))
    }

    fn decode<T: DeserializeOwned>(&self, key: &[u8], value: &[u8]) -> Result<T, StoreError> {
        postcard::from_bytes(value).map_err(|error| self.damaged(key, &error))
    }

    fn damaged(&self, key: &[u8], error: &postcard::Error) -> StoreError {
        StoreError::Damaged {
            path: self.origin.clone(),
            offset: 0,
            problem: format!("row {} cannot be read or written ({error})", key.escape_ascii()),
            remedy: "move the folder aside so that it is rebuilt from the journal, or restore a backup"
                .to_owned(),
        }
    }

    /// A row that must be there is not.
    fn lost(&self, key: &[u8]) -> StoreError {
        StoreError::Damaged {
            path: self.origin.clone(),
            offset: 0,
            problem: format!("row {} is gone", key.escape_ascii()),
            remedy: "move the folder aside so that it is rebuilt from the journal, or restore a backup"
                .to_owned(),
        }
    }
}
