//! One attempt: the step's own code, kept away from everything else.
//!
//! It runs with a time-out, and a panic ends only the attempt. Where its subscription runs ahead of the disk it begins in the
//! actor's turn, and ends there when it waits for nothing; all others begin with one of the [takers](super::takers). An asynchronous
//! step that runs into its time-out is dropped where it waits, so it has really ended when its lane and its
//! permit are given on. A step that blocks cannot be dropped: it is told to stop, keeps both until it
//! returns, and what it returns then still counts.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tracing::{Instrument, Span};

use super::effects::StoredEffects;
use super::port::{Ended, Port, Tried};
use super::reads::Reads;
use super::states::Known;
use super::takers::Takers;
use crate::clock::{Clock, Stopwatch};
use crate::committer::Submitter;
use crate::event::Envelope;
use crate::step::{Cancellation, ContextParts, Decoded, ErasedStep, Handled, StepContext, StepError};
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
    pub(crate) key: Arc<str>,
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
    /// Which attempt it was.
    pub(crate) fn attempt(&self) -> Ended {
        Ended { seq: self.seq, number: self.number, event: Arc::clone(&self.event) }
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
    pub(crate) takers: Takers,
}

/// Everything one attempt needs.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) ordinal: Ordinal,
    pub(crate) seq: Seq,
    pub(crate) key: Arc<str>,
    pub(crate) event: Arc<Envelope>,
    /// The event as it was decoded for its lane.
    pub(crate) decoded: Option<Decoded>,
    /// The replay that the delivery belongs to; 0 for none.
    pub(crate) generation: u32,
    pub(crate) number: u32,
    pub(crate) waited: Duration,
    pub(crate) timeout: Duration,
    /// The key's state as far as it is in memory.
    pub(crate) state: Known,
    /// The state was read from the store for it, and may be kept.
    pub(crate) is_read: bool,
    pub(crate) cancelled: Cancellation,
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
    pub(crate) fn start_all(&mut self, attempts: &mut Vec<Attempt>) -> Vec<Finished> {
        let mut unread = attempts.extract_if(.., |attempt| attempt.wants_state()).peekable();
        while unread.peek().is_some() {
            start_when_read(unread.by_ref().take(READ_AT_ONCE).collect());
        }
        drop(unread);
        self.start_known(attempts)
    }

    /// As [`Turn::start_all`], whether their states are in memory or not.
    fn start_known(&mut self, attempts: &mut Vec<Attempt>) -> Vec<Finished> {
        let Some(first) = attempts.first() else { return Vec::new() };
        if first.runs_ahead() {
            return attempts.drain(..).filter_map(|attempt| self.start(attempt)).collect();
        }
        Arc::clone(&first.at).begin(attempts.drain(..));
        Vec::new()
    }

    fn start(&mut self, attempt: Attempt) -> Option<Finished> {
        let at_once = !self.has_begun || self.watch.elapsed() < AT_ONCE;
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
        let (mut read, mut turn) = (reading.await.unwrap_or_default(), Turn::default());
        for finished in turn.start_known(&mut read) {
            at.ended(finished);
        }
        drop(busy);
    });
}

impl Attempt {
    pub(crate) fn tried(&self) -> Tried<'_> {
        (self.seq, self.number, &self.event.flow)
    }

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

    /// Starts it on its arbiter: its subscription runs ahead, and is free of outside effects.
    ///
    /// With `at_once` it begins here and now, and is returned when it waits for nothing: a task for it costs more than such
    /// a step does.
    fn start(self, at_once: bool) -> Option<Finished> {
        let at = Arc::clone(&self.at);
        let mut run = Box::pin(self.run());
        if let Some(finished) = at_once.then(|| (&mut run).now_or_never()).flatten() {
            return Some(finished);
        }
        let busy = at.port.busy();
        actix::spawn(async move {
            at.ended(run.await);
            drop(busy);
        });
        None
    }

    /// Runs to its end.
    pub(super) async fn run(mut self) -> Finished {
        let decoded = self.decoded.take();
        // The step's own code is caught where it is polled; its future may still panic when it is dropped, and so may whoever
        // is told of the span, which is made here: mostly the same thread frees its texts again.
        let working = async { self.work(decoded).instrument(self.span()).await };
        let worked = AssertUnwindSafe(working).catch_unwind().await;
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

    async fn work(&self, decoded: Option<Decoded>) -> Worked {
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
        let end = self.execute(decoded, state).await;
        (end, loaded, watch.elapsed())
    }

    async fn load(&self) -> Result<Option<Bytes>, String> {
        let (reader, id, key) = (Arc::clone(&self.at.reads.reader), self.at.port.id, Arc::clone(&self.key));
        let read = self.at.reads.pool.spawn_blocking(move || reader.state(id, &key)).await;
        read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    async fn execute(&self, decoded: Option<Decoded>, state: Option<Bytes>) -> End {
        let (step, event, cx) = (Arc::clone(&self.at.step), Arc::clone(&self.event), self.context());
        // The call itself is inside as well: it may panic before there is a future.
        let call = async move { step.call(event, decoded, state, cx).await };
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
            key: Arc::clone(&self.key),
            attempt: self.number,
            clock: self.at.clock.clone(),
            deadline: Some(self.at.clock.now().plus(self.timeout)),
            cancelled: self.cancelled.clone(),
            effects: Arc::new(StoredEffects { at: Arc::clone(&self.at), seq: self.seq }),
        })
    }

    /// Its end where it is not made: its flow is being undone.
    pub(super) fn held(self) -> Finished {
        self.finished((End::Held, Known::Unread, Duration::ZERO))
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
    (
        End::Panicked("beside the step's own code, or while its future was dropped".to_owned()),
        Known::Unread,
        Duration::ZERO,
    )
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
