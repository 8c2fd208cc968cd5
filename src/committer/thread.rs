//! The committer's loop.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::Duration;

use tokio::sync::watch;
use tracing::field::Empty;
use tracing::{debug, debug_span, error, warn};

use super::{
    Answer, Committer, Durable, Group, Listener, Progress, ProgressSender, Receipts, Reply, Underway, Wakes,
};
use crate::activity::{Activity, Busy};
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
    /// Groups that may wait while one is written: one keeps the disk busy, two hide the hand-over.
    pub groups_ahead: usize,
    /// How often background work of the store is looked at when nothing is written.
    pub maintain_every: Duration,
    /// After a failure of the store readers go on with what is on disk; else they end with it.
    pub retreats: bool,
    /// Where it is told what is under way.
    pub underway: Underway,
}

impl Default for CommitterSettings {
    fn default() -> Self {
        Self {
            groups_ahead: 1,
            maintain_every: Duration::from_millis(500),
            retreats: false,
            underway: Underway::default(),
        }
    }
}

struct Loop {
    store: Box<dyn Store>,
    clock: Clock,
    listener: Box<dyn Listener>,
    progress: ProgressSender,
    durable: watch::Sender<Commit>,
    activity: Activity,
    maintained: Stopwatch,
    /// What the groups have taken since upkeep had its turn.
    taken: Duration,
    settings: CommitterSettings,
    /// Groups that came while another one waited for room on the disk.
    ahead: VecDeque<Group>,
    /// The changes of the group in hand and whom to tell; kept for their room.
    changes: Vec<Change>,
    askers: Vec<Asker>,
    wakes: Wakes,
}

/// How many changes he has, whom to tell, and that this is in hand until he is told.
type Asker = (usize, Option<Reply>, Busy);

/// Starts the committer's thread on an opened store. It ends when its [`Committer`] is dropped: then it
/// closes the store, which writes a last checkpoint.
///
/// # Errors
/// [`StoreError::Io`] when the operating system gives no thread.
pub fn spawn(
    store: Box<dyn Store>,
    clock: Clock,
    listener: Box<dyn Listener>,
    progress: ProgressSender,
    activity: Activity,
    settings: CommitterSettings,
) -> Result<Committer, StoreError> {
    let (groups, incoming) = sync_channel(settings.groups_ahead);
    let state = Loop::new(store, clock, listener, progress, activity, settings);
    let watched = state.durable.subscribe();
    let thread = std::thread::Builder::new()
        .name("tidegate-committer".into())
        .spawn(move || state.run(&incoming))
        .map_err(|error| StoreError::io("start the committer's thread", "", &error))?;
    Ok(Committer { groups, durable: Durable(watched), thread })
}

impl Loop {
    fn new(
        store: Box<dyn Store>,
        clock: Clock,
        listener: Box<dyn Listener>,
        progress: ProgressSender,
        activity: Activity,
        settings: CommitterSettings,
    ) -> Self {
        let durable = watch::Sender::new(store.reader().durable());
        Self {
            store,
            clock,
            listener,
            progress,
            durable,
            activity,
            maintained: Stopwatch::start(),
            taken: Duration::ZERO,
            settings,
            ahead: VecDeque::new(),
            changes: Vec::new(),
            askers: Vec::new(),
            wakes: Wakes::default(),
        }
    }

    fn run(mut self, incoming: &Receiver<Group>) -> Result<(), StoreError> {
        let mut more_to_do = false;
        loop {
            let patience = if more_to_do { Duration::ZERO } else { self.settings.maintain_every };
            match self.ahead.pop_front().map_or_else(|| incoming.recv_timeout(patience), Ok) {
                Ok(group) => {
                    self.settings.underway.begin();
                    self.commit(group, incoming)?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if more_to_do
                || self.store.is_upkeep_due()
                || self.maintained.elapsed() >= self.settings.maintain_every
            {
                self.settings.underway.begin();
                more_to_do = self.maintain(incoming).map_err(|failure| self.fail(failure))?;
            }
            self.settings.underway.end();
        }
        debug!("committer closes the store");
        self.store.close()
    }

    /// Gives upkeep its turn; tells whether it has more to do.
    fn maintain(&mut self, incoming: &Receiver<Group>) -> Result<bool, StoreError> {
        let (turn, watch) = (std::mem::take(&mut self.taken).clamp(TURN.0, TURN.1), Stopwatch::start());
        let mut more = self.store.maintain(self.clock.now())?;
        while more && watch.elapsed() < turn {
            more = self.store.maintain(self.clock.now())?;
        }
        // What it has staged becomes durable with the group that waits, or else now: readers wait for what they have seen.
        self.lives(incoming);
        if self.ahead.is_empty() {
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

    fn commit(&mut self, group: Group, incoming: &Receiver<Group>) -> Result<(), StoreError> {
        let watch = Stopwatch::start();
        for request in group.requests {
            self.askers.push((request.changes.len(), request.reply, request.busy));
            request.changes.append_to(&mut self.changes);
        }
        let count = self.changes.len();
        let span = debug_span!("commit", commit = Empty, requests = self.askers.len(), changes = count);
        let _in_span = span.enter();
        match self.write(incoming) {
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
                self.tell(Progress::Committed { commit, changes: count, took });
                Ok(())
            }
            Err(failure) => {
                // First, so that whoever has his answer finds the bus unhealthy already.
                let failure = self.fail(failure);
                self.answer(|_| Err(failure.clone()));
                Err(failure)
            }
        }
    }

    fn write(&mut self, incoming: &Receiver<Group>) -> Result<(Vec<Receipt>, Commit), StoreError> {
        reach(Point::BeforeStage);
        let receipts = self.store.stage(self.clock.now(), &mut self.changes)?;
        reach(Point::Staged);
        self.listener.staged(&receipts);
        let commit = self.sync(incoming)?;
        self.durable.send_replace(commit);
        Ok((receipts, commit))
    }

    /// Makes the group durable. On a full disk it waits for room as long as the bus lives: nobody is answered, and
    /// nothing that was taken is given up.
    fn sync(&mut self, incoming: &Receiver<Group>) -> Result<Commit, StoreError> {
        let mut is_told = false;
        loop {
            match self.store.sync() {
                Err(full) if full.is_disk_full() && self.lives(incoming) => {
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

    /// Whether the bus may still bring groups.
    fn lives(&mut self, incoming: &Receiver<Group>) -> bool {
        match incoming.try_recv() {
            Ok(group) => self.ahead.push_back(group),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return false,
        }
        true
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
        // All of it was in hand until here.
        self.askers.clear();
    }

    fn fail(&mut self, failure: StoreError) -> StoreError {
        error!(error = %failure, "the store failed; nothing is acknowledged any more");
        self.settings.underway.end();
        if self.settings.retreats {
            match self.store.retreat() {
                Ok(commit) => {
                    warn!(commit = commit.0, "statuses are told as they are on disk, until a restart");
                    self.durable.send_replace(commit);
                    self.tell(Progress::Retreated);
                }
                Err(error) => error!(%error, "what is on disk cannot be read either"),
            }
        }
        self.tell(Progress::Failed(failure.clone()));
        failure
    }

    fn tell(&self, progress: Progress) {
        // The bus actor may have ended before its committer; then nobody needs to know.
        drop(self.progress.send((progress, self.activity.begin())));
    }
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
