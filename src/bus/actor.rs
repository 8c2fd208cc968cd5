//! The central actor: gathers requests into groups and keeps the committer busy.
//!
//! It runs on its own arbiter. Whatever is waiting when the committer has room goes into one group, so a
//! lone request is written at once and a flood shares its syncs. It decides nothing about an event: order
//! and duplicates are the store's, room is given by [`super::Admission`] before a request gets here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use actix::{Actor, ActorContext, AsyncContext, Context, StreamHandler};
use futures_util::StreamExt;
use tracing::error;

use super::health::Health;
use crate::activity::{Busy, Incoming};
use crate::committer::{Group, Progress, Request};
use crate::metrics::Metrics;
use crate::store::StoreError;

/// Requests taken from the channel at one wake-up.
const TAKEN_AT_ONCE: usize = 1_024;

/// The bus actor.
pub(crate) struct BusActor {
    /// Dropping it ends the committer, which closes the store.
    groups: SyncSender<Group>,
    waiting: VecDeque<Request>,
    waiting_changes: usize,
    /// Groups handed to the committer and not yet on disk.
    under_way: usize,
    group_changes: usize,
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
    pub(crate) health: Health,
    pub(crate) metrics: Arc<Metrics>,
}

impl BusActor {
    pub(crate) fn new(parts: BusParts) -> Self {
        Self {
            groups: parts.groups,
            waiting: VecDeque::new(),
            waiting_changes: 0,
            under_way: 0,
            group_changes: parts.group_changes,
            health: parts.health,
            metrics: parts.metrics,
            requests: Some(parts.requests),
            progress: Some(parts.progress),
        }
    }

    /// Hands the committer a group when there is something to write and it has room.
    fn dispatch(&mut self) {
        self.hand_over();
        self.metrics.queued.set(i64::try_from(self.waiting_changes).unwrap_or(i64::MAX));
    }

    fn hand_over(&mut self) {
        while !self.waiting.is_empty() && self.under_way < 2 {
            let group = self.gather();
            match self.groups.try_send(group) {
                Ok(()) => self.under_way += 1,
                Err(TrySendError::Full(group)) => return self.put_back(group),
                // The committer has failed and said so; who waits is told by the dropped reply.
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }

    fn gather(&mut self) -> Group {
        let mut group = Group::default();
        let mut changes = 0;
        while let Some(request) = self.waiting.front() {
            if changes > 0 && changes + request.weight() > self.group_changes {
                break;
            }
            changes += request.weight();
            group.requests.extend(self.waiting.pop_front());
        }
        self.waiting_changes -= changes;
        group
    }

    fn put_back(&mut self, group: Group) {
        for request in group.requests.into_iter().rev() {
            self.waiting_changes += request.weight();
            self.waiting.push_front(request);
        }
    }
}

impl Actor for BusActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(requests) = self.requests.take() {
            ctx.add_stream(requests.stream().ready_chunks(TAKEN_AT_ONCE));
        }
        if let Some(progress) = self.progress.take() {
            ctx.add_stream(progress.stream());
        }
    }
}

impl StreamHandler<Vec<Request>> for BusActor {
    fn handle(&mut self, requests: Vec<Request>, _: &mut Self::Context) {
        self.waiting_changes += requests.iter().map(Request::weight).sum::<usize>();
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
