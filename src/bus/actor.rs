//! The central actor: gathers requests into groups and keeps the committer busy.
//!
//! It runs on its own arbiter. Whatever is waiting when the committer has room goes into one group, so a
//! lone request is written at once and a flood shares its syncs. It decides nothing about an event: order
//! and duplicates are the store's, room is given by [`super::Admission`] before a request gets here.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use std::task::Poll;

use actix::{Actor, ActorContext, AsyncContext, Context, StreamHandler};
use futures_util::Stream;
use tracing::error;

use super::health::Health;
use crate::activity::{Busy, Incoming};
use crate::committer::{Group, Progress, Request, Waiting};
use crate::metrics::Metrics;
use crate::store::StoreError;

/// Groups in the committer's hands: one is written while the other is at its door.
const GROUPS_MAX: usize = 2;

/// The bus actor.
pub(crate) struct BusActor {
    /// Dropping it ends the committer, which closes the store.
    groups: SyncSender<Group>,
    /// Taken from the channel and not handed over.
    waiting: VecDeque<Request>,
    /// As all who hand in count it.
    waiting_changes: Waiting,
    /// Groups handed to the committer and not yet on disk.
    under_way: usize,
    group_changes: usize,
    /// Whether requests are taken now.
    door: Rc<Cell<bool>>,
    health: Health,
    metrics: Arc<Metrics>,
    requests: Option<Incoming<Request>>,
    progress: Option<Incoming<(Progress, Busy)>>,
}

/// What a bus actor is made of.
pub(crate) struct BusParts {
    pub(crate) groups: SyncSender<Group>,
    pub(crate) requests: Incoming<Request>,
    pub(crate) progress: Incoming<(Progress, Busy)>,
    pub(crate) group_changes: usize,
    pub(crate) waiting: Waiting,
    pub(crate) health: Health,
    pub(crate) metrics: Arc<Metrics>,
}

impl BusActor {
    pub(crate) fn new(parts: BusParts) -> Self {
        Self {
            groups: parts.groups,
            waiting: VecDeque::new(),
            waiting_changes: parts.waiting,
            under_way: 0,
            group_changes: parts.group_changes,
            door: Rc::new(Cell::new(true)),
            health: parts.health,
            metrics: parts.metrics,
            requests: Some(parts.requests),
            progress: Some(parts.progress),
        }
    }

    /// Hands the committer groups when there is something to write and it has room; and takes requests as long
    /// as there is more room.
    fn dispatch(&mut self) {
        self.hand_over();
        self.door.set(self.waiting.is_empty() && self.under_way < GROUPS_MAX);
    }

    fn hand_over(&mut self) {
        while !self.waiting.is_empty() && self.under_way < GROUPS_MAX {
            let (group, changes) = self.gather();
            match self.groups.try_send(group) {
                Ok(()) => {
                    self.waiting_changes.taken(changes);
                    self.under_way += 1;
                }
                Err(TrySendError::Full(group)) => return self.put_back(group),
                // The committer has failed and said so; who waits is told by the dropped reply.
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }

    /// The next group, and its weight.
    fn gather(&mut self) -> (Group, usize) {
        let (mut requests, mut changes) = (Vec::new(), 0);
        while let Some(request) = self.waiting.front() {
            if changes > 0 && changes + request.weight() > self.group_changes {
                break;
            }
            changes += request.weight();
            if requests.is_empty() {
                requests.reserve_exact(self.waiting.len());
            }
            requests.extend(self.waiting.pop_front());
        }
        (Group { requests }, changes)
    }

    fn put_back(&mut self, group: Group) {
        for request in group.requests.into_iter().rev() {
            self.waiting.push_front(request);
        }
    }
}

/// The requests, as long as the door is open. While it is closed nobody who hands in wakes the actor: what it
/// could do with a request is to let it wait, and that it does in the channel. It is opened when a group is on
/// disk, which wakes the actor, and then this is looked at again.
fn while_open(
    mut requests: Incoming<Request>,
    door: Rc<Cell<bool>>,
    most: usize,
) -> impl Stream<Item = Vec<Request>> {
    futures_util::stream::poll_fn(move |cx| {
        if !door.get() {
            return Poll::Pending;
        }
        let mut taken = Vec::new();
        requests.poll_many(cx, &mut taken, most).map(|count| (count > 0).then_some(taken))
    })
}

impl Actor for BusActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The order counts: whatever wakes the actor, progress is looked at first and opens the door.
        if let Some(progress) = self.progress.take() {
            ctx.add_stream(progress.stream());
        }
        if let Some(requests) = self.requests.take() {
            ctx.add_stream(while_open(requests, Rc::clone(&self.door), self.group_changes));
        }
    }
}

impl StreamHandler<Vec<Request>> for BusActor {
    fn handle(&mut self, requests: Vec<Request>, _: &mut Self::Context) {
        self.waiting.extend(requests);
        self.dispatch();
    }

    /// All submitters are gone: nothing can come any more.
    fn finished(&mut self, ctx: &mut Self::Context) {
        if self.waiting.is_empty() && self.under_way == 0 {
            ctx.stop();
        }
    }
}

impl StreamHandler<(Progress, Busy)> for BusActor {
    fn handle(&mut self, (progress, _busy): (Progress, Busy), ctx: &mut Self::Context) {
        match progress {
            Progress::Committed { commit: _, changes, took } => {
                self.under_way = self.under_way.saturating_sub(1);
                self.metrics.committed(changes, took);
                self.dispatch();
            }
            Progress::Retreated => self.health.retreated(),
            Progress::Failed(failure) => {
                error!(error = %failure, "the bus ends: its store failed");
                self.health.failed(failure);
                self.waiting.clear();
                ctx.stop();
            }
        }
    }

    /// The committer is gone. Unless it has said why, it panicked.
    fn finished(&mut self, ctx: &mut Self::Context) {
        self.health.failed(StoreError::Poisoned { cause: "the committer's thread panicked".to_owned() });
        ctx.stop();
    }
}
