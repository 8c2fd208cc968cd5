//! The central actor: gathers requests into groups, and has each written before the next.
//!
//! It has a thread to itself, on which its committer may block. While one group is on its way to the disk others wait in the
//! channel, and whatever is there afterwards goes into the next: a lone request is written at once, a flood shares its syncs.
//! It decides nothing about an event: order and duplicates are the store's, room is given by [`super::Admission`] before
//! a request gets here.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, StreamHandler};
use futures_util::Stream;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::error;

use super::health::Health;
use crate::activity::Incoming;
use crate::committer::{Committer, Group, Request, Waiting};
use crate::store::StoreError;

/// The bus actor.
pub(crate) struct BusActor {
    /// None while it works: one that panics is not had again, and its store is not closed.
    committer: Option<Committer>,
    /// Taken from the channel and not written.
    waiting: VecDeque<Request>,
    /// As all who hand in count it.
    handed_in: Waiting,
    group_changes: usize,
    maintain_every: Duration,
    ending: CancellationToken,
    /// Whether upkeep goes on when nobody asks for anything.
    has_upkeep: Rc<Cell<bool>>,
    requests: Option<Incoming<Request>>,
    failure: Option<StoreError>,
    /// Where the committer goes when the actor ends.
    last: Option<oneshot::Sender<Last>>,
}

/// The committer of an actor that has ended, and how its store has failed.
type Last = (Committer, Option<StoreError>);

/// What a bus actor is made of.
pub(crate) struct BusParts {
    pub(crate) committer: Committer,
    pub(crate) requests: Incoming<Request>,
    pub(crate) waiting: Waiting,
    /// Most changes in a group.
    pub(crate) group_changes: usize,
    pub(crate) maintain_every: Duration,
    /// The bus ends when it is cancelled.
    pub(crate) ending: CancellationToken,
    pub(crate) health: Health,
}

/// The thread of a bus actor. When it is dropped the actor ends and closes the store, and nobody waits for that.
#[derive(Debug)]
pub struct BusThread {
    thread: JoinHandle<Result<(), StoreError>>,
    ending: DropGuard,
}

impl BusThread {
    /// Starts the actor of an opened store on a thread of its own.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the operating system gives no thread.
    pub(crate) fn start(parts: BusParts) -> Result<Self, StoreError> {
        let ending = parts.ending.clone();
        let io = |error| StoreError::io("start the bus actor's thread", "", &error);
        // It waits for requests and for its next upkeep, and for no file or socket.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(io)?;
        let run = move || LocalSet::new().block_on(&runtime, BusActor::live(parts));
        let thread = std::thread::Builder::new().name("tidegate-bus".to_owned()).spawn(run).map_err(io)?;
        Ok(Self { thread, ending: ending.drop_guard() })
    }

    /// Ends the actor and waits until the store is closed.
    ///
    /// # Errors
    /// The store's failure, also one that ended the actor before.
    pub fn end(self) -> Result<(), StoreError> {
        drop(self.ending);
        self.thread.join().unwrap_or_else(|_| {
            Err(StoreError::Poisoned { cause: "the bus actor's thread panicked".to_owned() })
        })
    }
}

impl BusActor {
    /// From its start until its store is closed, or has failed.
    async fn live(parts: BusParts) -> Result<(), StoreError> {
        let (leave, left) = oneshot::channel();
        let _address = Self {
            committer: Some(parts.committer),
            waiting: VecDeque::new(),
            handed_in: parts.waiting,
            group_changes: parts.group_changes,
            maintain_every: parts.maintain_every,
            ending: parts.ending,
            has_upkeep: Rc::default(),
            requests: Some(parts.requests),
            failure: None,
            last: Some(leave),
        }
        .start();
        // The actor is gone with its requests: nobody who waits for one waits for the last checkpoint.
        match left.await {
            Ok((committer, None)) => committer.close(),
            Ok((_, Some(failure))) => Err(failure),
            Err(_) => {
                let panicked = StoreError::Poisoned { cause: "the bus actor panicked".to_owned() };
                parts.health.failed(panicked.clone());
                Err(panicked)
            }
        }
    }

    /// Lets the committer work; `work` tells whether upkeep has more to do. After a failure nothing is taken any more; who
    /// waits is told by the dropped reply.
    fn work(
        &mut self,
        ctx: &mut Context<Self>,
        work: impl FnOnce(&mut Self, &mut Committer) -> Result<bool, StoreError>,
    ) {
        let Some(mut committer) = self.committer.take_if(|_| self.failure.is_none()) else { return };
        let worked = work(self, &mut committer);
        self.committer = Some(committer);
        match worked {
            Ok(has_upkeep) => self.has_upkeep.set(has_upkeep),
            Err(failure) => {
                error!(error = %failure, "the bus ends: its store failed");
                self.failure = Some(failure);
                self.waiting.clear();
                ctx.stop();
            }
        }
    }

    /// Writes what waits, group by group, each followed by the upkeep that is due.
    fn write(&mut self, committer: &mut Committer) -> Result<bool, StoreError> {
        loop {
            if let Some(group) = self.gather() {
                committer.commit(group)?;
            }
            let has_upkeep = committer.look_after(self.is_awaited())?;
            if self.waiting.is_empty() {
                return Ok(has_upkeep);
            }
        }
    }

    /// Upkeep comes by its time also when nothing is written. A timer of its own for each, and no interval: that makes up
    /// for all the times that it has missed while the actor was blocked.
    fn look_later(&self, ctx: &mut Context<Self>) {
        ctx.run_later(self.maintain_every, |actor, ctx| {
            actor.work(ctx, |actor, committer| committer.look_after(actor.is_awaited()));
            actor.look_later(ctx);
        });
    }

    /// Whether a request waits, here or in the channel.
    fn is_awaited(&self) -> bool {
        self.handed_in.count() > 0
    }

    /// The next group.
    fn gather(&mut self) -> Option<Group> {
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
        self.handed_in.taken(changes);
        (!requests.is_empty()).then_some(Group { requests })
    }
}

/// The requests, as many as have come meanwhile; none, when there is upkeep to go on with instead.
fn turns(
    mut requests: Incoming<Request>,
    has_upkeep: Rc<Cell<bool>>,
    most: usize,
) -> impl Stream<Item = Vec<Request>> {
    futures_util::stream::poll_fn(move |cx| {
        let mut taken = Vec::new();
        let polled = requests.poll_many(cx, &mut taken, most);
        if polled.is_pending() && has_upkeep.get() {
            return Poll::Ready(Some(taken));
        }
        polled.map(|count| (count > 0).then_some(taken))
    })
}

impl Actor for BusActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let ending = self.ending.clone();
        let ended = wrap_future::<_, Self>(async move { ending.cancelled().await });
        ctx.spawn(ended.map(|(), _, ctx| ctx.stop()));
        self.look_later(ctx);
        if let Some(requests) = self.requests.take() {
            ctx.add_stream(turns(requests, Rc::clone(&self.has_upkeep), self.group_changes));
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        if let (Some(committer), Some(last)) = (self.committer.take(), self.last.take()) {
            let _is_awaited = last.send((committer, self.failure.take())).is_ok();
        }
    }
}

impl StreamHandler<Vec<Request>> for BusActor {
    fn handle(&mut self, requests: Vec<Request>, ctx: &mut Self::Context) {
        self.waiting.extend(requests);
        self.work(ctx, Self::write);
    }

    /// All submitters are gone: nothing can come any more.
    fn finished(&mut self, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;
