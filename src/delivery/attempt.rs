//! One attempt: the step's own code, kept away from everything else.
//!
//! It runs with a time-out, and a panic ends only the attempt. Where its subscription runs ahead of the disk it begins in the
//! actor's turn, and ends there when it waits for nothing; all others run in tasks of their own. An asynchronous
//! step that runs into its time-out is dropped where it waits, so it has really ended when its lane and its
//! permit are given on. A step that blocks cannot be dropped: it is told to stop, keeps both until it
//! returns, and what it returns then still counts.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::effects::StoredEffects;
use super::port::{Input, Port};
use super::reads::Reads;
use super::states::Known;
use crate::clock::{Clock, Stopwatch};
use crate::committer::Submitter;
use crate::event::Envelope;
use crate::step::{ContextParts, ErasedStep, Handled, StepContext, StepError};
use crate::store::{Ordinal, Seq};

/// States that one job reads.
const READ_AT_ONCE: usize = 32;

/// How long attempts may begin in one turn on an arbiter.
const AT_ONCE: Duration = Duration::from_millis(1);

/// How an attempt ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) ordinal: Ordinal,
    pub(crate) seq: Seq,
    pub(crate) key: String,
    pub(crate) event: Arc<Envelope>,
    /// The replay that the delivery belongs to; 0 for none.
    pub(crate) generation: u32,
    pub(crate) number: u32,
    pub(crate) end: End,
    /// The key's state, when it was read from the store for this attempt.
    pub(crate) loaded: Known,
    pub(crate) waited: Duration,
    pub(crate) ran: Duration,
}

impl Finished {
    /// The end of an attempt that was not made: its flow is being undone.
    pub(crate) fn held(
        ordinal: Ordinal,
        seq: Seq,
        key: String,
        event: Arc<Envelope>,
        generation: u32,
        number: u32,
        waited: Duration,
    ) -> Self {
        let end = End::Held;
        Self {
            ordinal,
            seq,
            key,
            event,
            generation,
            number,
            end,
            loaded: Known::Unread,
            waited,
            ran: Duration::ZERO,
        }
    }

    /// Takes the end out; what stays is what the record needs.
    pub(crate) fn take_end(&mut self) -> End {
        std::mem::replace(&mut self.end, End::Interrupted)
    }
}

/// What came of the step's code.
#[derive(Debug)]
pub(crate) enum End {
    Returned(Result<Handled, StepError>),
    Panicked(String),
    TimedOut(Duration),
    /// Its flow is being undone: no code ran.
    Held,
    /// A shutdown ended it: it counts as nothing.
    Interrupted,
    /// Its state could not be read.
    Unreadable(String),
}

/// What all attempts of a subscription share: one pointer for each of them, because counters of many pointers that two
/// processors change by turns cost more than what they guard.
#[derive(Debug)]
pub(crate) struct Workplace {
    pub(crate) step: Arc<dyn ErasedStep>,
    pub(crate) clock: Clock,
    pub(crate) port: Port,
    pub(crate) reads: Reads,
    pub(crate) submitter: Submitter,
}

/// Everything one attempt needs.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) ordinal: Ordinal,
    pub(crate) seq: Seq,
    pub(crate) key: String,
    pub(crate) event: Arc<Envelope>,
    /// The replay that the delivery belongs to; 0 for none.
    pub(crate) generation: u32,
    pub(crate) number: u32,
    pub(crate) waited: Duration,
    pub(crate) timeout: Duration,
    /// The key's state as far as it is in memory.
    pub(crate) state: Known,
    /// The state was read from the store for it, and may be kept.
    pub(crate) is_read: bool,
    pub(crate) cancelled: CancellationToken,
    pub(crate) at: Arc<Workplace>,
}

/// An end, the key's state when it was read for it, and how long the step's code ran.
type Worked = (End, Known, Duration);

/// One turn on an arbiter. Others have actors on it, too, so attempts begin in it for [`AT_ONCE`]; one does whatever the time.
pub(crate) struct Turn {
    watch: Stopwatch,
    has_begun: bool,
}

impl Default for Turn {
    fn default() -> Self {
        Self { watch: Stopwatch::start(), has_begun: false }
    }
}

impl Turn {
    /// Starts attempts, and returns those of them that came to their end at once.
    ///
    /// Of those whose states are not in memory the store is asked in some jobs for all: a job for each cost two threads'
    /// waking, more than the reading.
    pub(crate) fn start_all(&mut self, attempts: impl Iterator<Item = Attempt>) -> Vec<Finished> {
        let (mut unread, mut ended) = (Vec::new(), Vec::new());
        for attempt in attempts {
            if attempt.wants_state() {
                unread.push(attempt);
            } else {
                ended.extend(self.start(attempt));
            }
            if unread.len() == READ_AT_ONCE {
                start_when_read(std::mem::take(&mut unread));
            }
        }
        start_when_read(unread);
        ended
    }

    fn start(&mut self, attempt: Attempt) -> Option<Finished> {
        let at_once = attempt.runs_ahead() && (!self.has_begun || self.watch.elapsed() < AT_ONCE);
        self.has_begun |= at_once;
        attempt.start(at_once)
    }
}

fn start_when_read(attempts: Vec<Attempt>) {
    let Some(at) = attempts.first().map(|first| Arc::clone(&first.at)) else { return };
    let busy = at.port.busy();
    let read = || attempts.into_iter().map(Attempt::read).collect::<Vec<_>>();
    let reading = at.reads.pool.spawn_blocking(read);
    actix::spawn(async move {
        // It ends without them only when the runtime ends.
        let (read, mut turn) = (reading.await.unwrap_or_default(), Turn::default());
        for finished in read.into_iter().filter_map(|attempt| turn.start(attempt)) {
            at.port.tell(Input::Finished(Box::new(finished)));
        }
        drop(busy);
    });
}

impl Attempt {
    fn wants_state(&self) -> bool {
        self.at.step.is_stateful() && self.state == Known::Unread
    }

    fn runs_ahead(&self) -> bool {
        self.at.port.runs_ahead && !self.at.step.is_blocking()
    }

    /// Reads its state. One that cannot be read is asked for again when it runs, and that tells why.
    fn read(mut self) -> Self {
        let read = || self.at.reads.reader.state(self.at.port.id, &self.key);
        if let Ok(Ok(state)) = std::panic::catch_unwind(AssertUnwindSafe(read)) {
            (self.state, self.is_read) = (Known::Read(state), true);
        }
        self
    }

    /// Starts it; its end comes as an [`Input::Finished`]. A subscription that runs ahead is free of
    /// outside effects and stays on its arbiter, the others run on the steps' threads.
    ///
    /// With `at_once` one that runs ahead begins here and now, and is returned when it waits for nothing: a task for it
    /// costs more than such a step does.
    fn start(self, at_once: bool) -> Option<Finished> {
        let at = Arc::clone(&self.at);
        if !self.runs_ahead() {
            let busy = at.port.busy();
            at.reads.pool.clone().spawn(async move {
                at.port.tell(Input::Finished(Box::new(self.run().await)));
                drop(busy);
            });
            return None;
        }
        let mut run = Box::pin(self.run());
        if let Some(finished) = at_once.then(|| (&mut run).now_or_never()).flatten() {
            return Some(finished);
        }
        let busy = at.port.busy();
        actix::spawn(async move {
            at.port.tell(Input::Finished(Box::new(run.await)));
            drop(busy);
        });
        None
    }

    /// Runs to its end.
    async fn run(self) -> Finished {
        // Made here and not where the attempt is handed over: mostly the same thread frees its texts again.
        let span = self.span();
        // The step's own code is caught where it is polled; its future may still panic when it is dropped.
        let worked = AssertUnwindSafe(self.work().instrument(span)).catch_unwind().await;
        self.finished(worked.unwrap_or_else(|_| lost()))
    }

    fn span(&self) -> Span {
        tracing::info_span!(
            "attempt",
            flow = self.event.flow,
            event = self.event.id,
            subscription = &*self.at.port.name,
            attempt = self.number
        )
    }

    async fn work(&self) -> Worked {
        let (state, loaded) = match &self.state {
            _ if !self.at.step.is_stateful() => (None, Known::Unread),
            Known::Read(state) if self.is_read => (state.clone(), self.state.clone()),
            Known::Read(state) => (state.clone(), Known::Unread),
            Known::Unread => match self.load().await {
                Ok(state) => (state.clone(), Known::Read(state)),
                Err(problem) => return (End::Unreadable(problem), Known::Unread, Duration::ZERO),
            },
        };
        let watch = Stopwatch::start();
        let end = self.execute(state).await;
        (end, loaded, watch.elapsed())
    }

    async fn load(&self) -> Result<Option<Bytes>, String> {
        let (reader, id, key) = (Arc::clone(&self.at.reads.reader), self.at.port.id, self.key.clone());
        let read = self.at.reads.pool.spawn_blocking(move || reader.state(id, &key)).await;
        read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    async fn execute(&self, state: Option<Bytes>) -> End {
        let (step, event, cx) = (Arc::clone(&self.at.step), Arc::clone(&self.event), self.context());
        // The call itself is inside as well: it may panic before there is a future.
        let call = async move { step.call(event, state, cx).await };
        let work = AssertUnwindSafe(call).catch_unwind().map(returned);
        let end = if self.at.step.is_blocking() {
            self.execute_blocking(work).await
        } else {
            tokio::select! {
                biased;
                end = work => end,
                () = self.cancelled.cancelled() => End::Interrupted,
                () = tokio::time::sleep(self.timeout) => self.time_out(),
            }
        };
        // A step that heeds its cancellation fails because of it; none may claim one that there was not.
        match (&end, self.cancelled.is_cancelled()) {
            (End::Returned(Err(StepError::Retry { .. })), true) => End::Interrupted,
            (End::Returned(Err(StepError::Shutdown)), false) => {
                End::Returned(Err(StepError::retry("the step said that the bus shuts down, and it does not")))
            }
            _ => end,
        }
    }

    async fn execute_blocking(&self, work: impl Future<Output = End> + Send + 'static) -> End {
        let pool: Handle = self.at.reads.pool.clone();
        // Never closed; the time-out begins with the thread.
        let permit = Arc::clone(&self.at.reads.blocking).acquire_owned().await;
        let work = work.instrument(Span::current());
        let mut running = self.at.reads.pool.spawn_blocking(move || {
            let end = pool.block_on(work);
            drop(permit);
            end
        });
        let in_time = tokio::time::timeout(self.timeout, &mut running).await;
        let joined = if let Ok(joined) = in_time {
            joined
        } else {
            let timed_out = self.time_out();
            // A thread cannot be ended. Its end counts while it is waited for; after as long again its key is
            // not held any longer, and what it still brings is thrown away.
            match tokio::time::timeout(self.timeout, running).await {
                Err(_) | Ok(Ok(End::Returned(Err(_)))) => return timed_out,
                Ok(late) => late,
            }
        };
        joined.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => returned(Err(panic)),
            Err(_) => End::Interrupted,
        })
    }

    fn time_out(&self) -> End {
        self.cancelled.cancel();
        End::TimedOut(self.timeout)
    }

    fn context(&self) -> StepContext {
        StepContext::new(ContextParts {
            event: Arc::clone(&self.event),
            subscription: Arc::clone(&self.at.port.name),
            key: self.key.clone(),
            attempt: self.number,
            clock: self.at.clock.clone(),
            deadline: Some(self.at.clock.now().plus(self.timeout)),
            cancelled: self.cancelled.clone(),
            effects: Arc::new(StoredEffects { at: Arc::clone(&self.at), seq: self.seq }),
        })
    }

    fn finished(self, (end, loaded, ran): Worked) -> Finished {
        Finished {
            ordinal: self.ordinal,
            seq: self.seq,
            key: self.key,
            event: self.event,
            generation: self.generation,
            number: self.number,
            end,
            loaded,
            waited: self.waited,
            ran,
        }
    }
}

/// What is told when the attempt itself is lost to a panic.
fn lost() -> Worked {
    (End::Panicked("while its future was dropped".to_owned()), Known::Unread, Duration::ZERO)
}

fn returned(caught: Result<Result<Handled, StepError>, Box<dyn std::any::Any + Send>>) -> End {
    match caught {
        Ok(returned) => End::Returned(returned),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            End::Panicked(text.unwrap_or_else(|| "without a message".to_owned()))
        }
    }
}
