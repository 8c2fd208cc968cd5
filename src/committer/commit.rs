//! The committer's work: what becomes of a group, and when upkeep has its turn.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{debug, debug_span, error, warn};

use super::{Answer, Durable, Group, Listener, Receipts, Reply, Underway, Wakes};
use crate::activity::Busy;
use crate::clock::{Clock, Stopwatch};
use crate::store::faults::{Point, reach};
use crate::store::{Change, Commit, Receipt, Store, StoreError};

/// How long a group waits for room on a full disk before it looks again.
const ROOM_PAUSE: Duration = Duration::from_millis(50);
/// A turn of upkeep that has more to do takes as long as the groups before it did, within these bounds: so it mostly keeps
/// pace with what comes in, and whoever publishes has about half of the committer.
const TURN: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(10));

/// How the committer works.
#[derive(Debug, Clone)]
pub struct CommitterSettings {
    /// How often background work of the store is looked at, when none is due before.
    pub maintain_every: Duration,
    /// After a failure of the store readers go on with what is on disk; else they end with it.
    pub retreats: bool,
    /// Where it is told what is under way.
    pub underway: Underway,
}

impl Default for CommitterSettings {
    fn default() -> Self {
        Self { maintain_every: Duration::from_millis(500), retreats: false, underway: Underway::default() }
    }
}

/// Writes: it stages groups, makes them durable and answers, and looks after the store. All of it blocks on the disk.
pub struct Committer {
    store: Box<dyn Store>,
    clock: Clock,
    listener: Box<dyn Listener>,
    durable: watch::Sender<Commit>,
    maintained: Stopwatch,
    /// What the groups have taken since upkeep had its turn.
    taken: Duration,
    /// Upkeep has more to do.
    has_more: bool,
    settings: CommitterSettings,
    /// The bus ends: nobody waits for room on a full disk any more.
    ending: CancellationToken,
    /// The changes of the group in hand and whom to tell; kept for their room.
    changes: Vec<Change>,
    askers: Vec<Asker>,
    wakes: Wakes,
}

/// How many changes he has, whom to tell, and that this is in hand until he is told.
type Asker = (usize, Option<Reply>, Busy);

impl std::fmt::Debug for Committer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Committer {
    /// A committer of an opened store. When `ending` is cancelled, a group that waits for room on a full disk is given up.
    pub fn new(
        store: Box<dyn Store>,
        clock: Clock,
        listener: Box<dyn Listener>,
        ending: CancellationToken,
        settings: CommitterSettings,
    ) -> Self {
        let durable = watch::Sender::new(store.reader().durable());
        Self {
            store,
            clock,
            listener,
            durable,
            maintained: Stopwatch::start(),
            taken: Duration::ZERO,
            has_more: false,
            settings,
            ending,
            changes: Vec::new(),
            askers: Vec::new(),
            wakes: Wakes::default(),
        }
    }

    /// The watch on what is durable.
    pub fn durable(&self) -> Durable {
        Durable(self.durable.subscribe())
    }

    /// Closes the store, which writes a last checkpoint.
    ///
    /// # Errors
    /// What the store says.
    pub fn close(self) -> Result<(), StoreError> {
        debug!("committer closes the store");
        // It has a reader, and the folder is locked as long as there is one.
        drop(self.listener);
        self.store.close()
    }

    /// Gives upkeep its turn when it is due; tells whether it has more to do. `is_awaited` says that another group waits.
    ///
    /// # Errors
    /// The store's failure: then nothing is acknowledged any more.
    pub fn look_after(&mut self, is_awaited: bool) -> Result<bool, StoreError> {
        let is_time = self.maintained.elapsed() >= self.settings.maintain_every;
        if self.has_more || is_time || self.store.is_upkeep_due() {
            return self.maintain(is_awaited);
        }
        Ok(false)
    }

    /// As [`Committer::look_after`], due or not.
    ///
    /// # Errors
    /// As [`Committer::look_after`].
    pub fn maintain(&mut self, is_awaited: bool) -> Result<bool, StoreError> {
        self.settings.underway.begin();
        let more = self.take_turn(is_awaited).map_err(|failure| self.fail(failure))?;
        self.has_more = more;
        self.settings.underway.end();
        Ok(more)
    }

    fn take_turn(&mut self, is_awaited: bool) -> Result<bool, StoreError> {
        let (turn, watch) = (std::mem::take(&mut self.taken).clamp(TURN.0, TURN.1), Stopwatch::start());
        let mut more = self.store.maintain(self.clock.now())?;
        while more && watch.elapsed() < turn {
            more = self.store.maintain(self.clock.now())?;
        }
        // What it has staged becomes durable with the group that waits, or else now: readers wait for what they have seen.
        if !is_awaited {
            match self.store.sync() {
                // It stays staged, or the store has failed and says so the next time. More of it would find no room either.
                Err(full) if full.is_disk_full() => more = false,
                synced => drop(synced?),
            }
        }
        self.durable.send_replace(self.store.reader().durable());
        self.listener.maintained();
        self.maintained = Stopwatch::start();
        Ok(more)
    }

    /// Makes a group durable and answers. On a full disk it waits for room as long as the bus lives.
    ///
    /// # Guarantees
    /// Whoever is told that his changes are durable is told after the sync. After an error everybody in the group was told
    /// that error, and the listener before them.
    ///
    /// # Errors
    /// The store's failure: then nothing is acknowledged any more.
    pub fn commit(&mut self, group: Group) -> Result<(), StoreError> {
        self.settings.underway.begin();
        let committed = self.commit_all(group);
        self.settings.underway.end();
        committed
    }

    fn commit_all(&mut self, group: Group) -> Result<(), StoreError> {
        let watch = Stopwatch::start();
        for request in group.requests {
            self.askers.push((request.changes.len(), request.reply, request.busy));
            request.changes.append_to(&mut self.changes);
        }
        let count = self.changes.len();
        let span = debug_span!("commit", commit = Empty, requests = self.askers.len(), changes = count);
        let _in_span = span.enter();
        match self.write() {
            Ok((receipts, commit)) => {
                span.record("commit", commit.0);
                reach(Point::BeforeAnswer);
                self.listener.durable(&receipts);
                reach(Point::BetweenAnswers);
                let mut receipts = receipts.into_iter();
                self.answer(|count| Ok(Receipts::take_from(&mut receipts, count)));
                reach(Point::Answered);
                let took = watch.elapsed();
                self.taken += took;
                debug!(micros = took.as_micros(), "group is on disk");
                self.listener.committed(count, took);
                // All of it was in hand until here.
                self.askers.clear();
                Ok(())
            }
            Err(failure) => {
                // First, so that whoever has his answer finds the bus unhealthy already.
                let failure = self.fail(failure);
                self.answer(|_| Err(failure.clone()));
                self.askers.clear();
                Err(failure)
            }
        }
    }

    fn write(&mut self) -> Result<(Vec<Receipt>, Commit), StoreError> {
        reach(Point::BeforeStage);
        let receipts = self.store.stage(self.clock.now(), &mut self.changes)?;
        reach(Point::Staged);
        self.listener.staged(&receipts);
        let commit = self.sync()?;
        self.durable.send_replace(commit);
        Ok((receipts, commit))
    }

    /// Makes the group durable. On a full disk it waits for room as long as the bus lives: nobody is answered, and
    /// nothing that was taken is given up.
    fn sync(&mut self) -> Result<Commit, StoreError> {
        let mut is_told = false;
        loop {
            match self.store.sync() {
                Err(full) if full.is_disk_full() && !self.ending.is_cancelled() => {
                    if !std::mem::replace(&mut is_told, true) {
                        warn!(error = %full, "the disk is full; what is to be stored waits for room");
                    }
                    // It is the room that is waited for, not the disk.
                    self.settings.underway.begin();
                    std::thread::park_timeout(ROOM_PAUSE);
                }
                synced => return synced,
            }
        }
    }

    /// Tells everybody who has a part in the group, in order, then wakes those who wait.
    fn answer(&mut self, mut answer_of: impl FnMut(usize) -> Answer) {
        for (count, reply, _) in &mut self.askers {
            let answer = answer_of(*count);
            if let Some(reply) = reply.take() {
                reply.tell(answer, &mut self.wakes);
            }
        }
        self.wakes.ring();
    }

    fn fail(&mut self, failure: StoreError) -> StoreError {
        error!(error = %failure, "the store failed; nothing is acknowledged any more");
        self.settings.underway.end();
        if self.settings.retreats {
            match self.store.retreat() {
                Ok(commit) => {
                    warn!(commit = commit.0, "statuses are told as they are on disk, until a restart");
                    self.durable.send_replace(commit);
                    self.listener.retreated();
                }
                Err(error) => error!(%error, "what is on disk cannot be read either"),
            }
        }
        self.listener.failed(&failure);
        failure
    }
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
