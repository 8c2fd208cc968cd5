//! A store that outlives the bus, and that can end it at a chosen point.

use std::sync::{Arc, Mutex, PoisonError};

use crate::event::Timestamp;
use crate::store::{Change, Commit, Features, Reader, Receipt, Store, StoreError};

/// Where a simulated process dies; what was staged and not synced is lost with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrashPoint {
    /// When the next publication is about to be written: nobody was answered, nothing is stored.
    BeforePublish,
    /// When the next publication is on disk: nobody was answered, everything is stored.
    AfterPublish,
    /// When the outcome of this subscription's next attempt is about to be written: the step's code has
    /// run, nothing of it is recorded.
    BeforeSettle(String),
    /// When the outcome of this subscription's next attempt is on disk, before anybody knows.
    AfterSettle(String),
    /// When the group commit of this number, counted from now and from 1, is about to be written.
    BeforeGroup(u64),
    /// When the group commit of this number, counted from now and from 1, is on disk, before anybody knows.
    AfterGroup(u64),
    /// When the group commit of this number, counted from now and from 1, is written and not yet synced: those
    /// who look at what is staged have seen it. Whether it survives is up to the disk ([`SimDisk::crash`]).
    ///
    /// [`SimDisk::crash`]: super::SimDisk::crash
    BeforeSync(u64),
    /// When the next events of a replay are about to be queued.
    BeforeReplay,
    /// When the next events of a replay are queued on disk, together with how far it has come.
    AfterReplay,
    /// When so many further groups of changes are on disk, whatever is in them: the next one is on disk as well,
    /// and nobody knows.
    AfterCommits(u64),
}

/// The engine under a harness: shared over restarts.
#[derive(Clone)]
pub(super) struct Engine(Arc<Mutex<Box<dyn Store>>>);

/// The store a bus is given: the engine, and when to fail.
pub(super) struct FaultStore {
    engine: Engine,
    plan: Plan,
    is_dead: bool,
}

/// The planned crash, shared with the harness.
pub(super) type Plan = Arc<Mutex<Option<CrashPoint>>>;

enum Hit {
    Before,
    Between,
    After,
}

impl Engine {
    pub(super) fn new(store: Box<dyn Store>) -> Self {
        Self(Arc::new(Mutex::new(store)))
    }

    pub(super) fn with_faults(&self, plan: &Plan) -> FaultStore {
        FaultStore { engine: self.clone(), plan: Arc::clone(plan), is_dead: false }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Box<dyn Store>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FaultStore {
    /// Whether this group is where the process is to die. A plan is carried out once.
    fn hit(&self, changes: &[Change]) -> Option<Hit> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let publishes = || changes.iter().any(|change| matches!(change, Change::Publish(_)));
        let is_page = |change: &Change| matches!(change, Change::Replay(replay) if !replay.seqs.is_empty());
        let replays = || changes.iter().any(is_page);
        if let Some(CrashPoint::AfterCommits(left)) = plan.as_mut()
            && let Some(fewer) = left.checked_sub(1)
        {
            *left = fewer;
            return None;
        }
        let hit = match plan.as_mut()? {
            CrashPoint::BeforeReplay => replays().then_some(Hit::Before),
            CrashPoint::AfterReplay => replays().then_some(Hit::After),
            CrashPoint::BeforePublish => publishes().then_some(Hit::Before),
            CrashPoint::AfterPublish => publishes().then_some(Hit::After),
            CrashPoint::BeforeSettle(name) => self.settles(changes, name).then_some(Hit::Before),
            CrashPoint::AfterCommits(_) => Some(Hit::After),
            CrashPoint::AfterSettle(name) => self.settles(changes, name).then_some(Hit::After),
            CrashPoint::BeforeGroup(left) => counted(left).then_some(Hit::Before),
            CrashPoint::BeforeSync(left) => counted(left).then_some(Hit::Between),
            CrashPoint::AfterGroup(left) => counted(left).then_some(Hit::After),
        };
        if hit.is_some() {
            *plan = None;
        }
        hit
    }

    fn settles(&self, changes: &[Change], name: &str) -> bool {
        let records = self.engine.lock().reader().subscriptions().unwrap_or_default();
        let id = records.into_iter().find(|record| record.name == name).map(|record| record.id);
        changes.iter().any(|change| {
            if let Change::Settle(settle) = change { Some(settle.subscription) == id } else { false }
        })
    }

    fn die(&mut self) -> StoreError {
        self.is_dead = true;
        StoreError::Poisoned { cause: "the test ends the process here".to_owned() }
    }
}

/// Whether this group is the one that was counted down to.
fn counted(left: &mut u64) -> bool {
    *left = left.saturating_sub(1);
    *left == 0
}

impl Store for FaultStore {
    fn stage(&mut self, now: Timestamp, changes: &mut Vec<Change>) -> Result<Vec<Receipt>, StoreError> {
        if self.is_dead {
            return Err(self.die());
        }
        match self.hit(changes) {
            None => self.engine.lock().stage(now, changes),
            Some(Hit::Before) => Err(self.die()),
            Some(Hit::Between) => {
                self.is_dead = true;
                self.engine.lock().stage(now, changes)
            }
            Some(Hit::After) => {
                let mut engine = self.engine.lock();
                engine.stage(now, changes)?;
                engine.sync()?;
                drop(engine);
                Err(self.die())
            }
        }
    }

    fn sync(&mut self) -> Result<Commit, StoreError> {
        if self.is_dead { Err(self.die()) } else { self.engine.lock().sync() }
    }

    fn maintain(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        if self.is_dead { Ok(false) } else { self.engine.lock().maintain(now) }
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.engine.lock().reader()
    }

    fn features(&self) -> Features {
        self.engine.lock().features()
    }

    /// The engine stays open for the next start.
    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}
