//! An open load: events come at a fixed rate, whether the server keeps up or not.
//!
//! Each event has the moment at which it is due, and its time is counted from there: what waits because all connections
//! wait for the server has waited all the same. Events are due on whole milliseconds, some at a time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tidegate::clock::Stopwatch;
use tokio::sync::Semaphore;

use super::histogram::Histogram;
use crate::Outcome;
use crate::app::INGESTED;
use crate::children::pause;
use crate::http::{CONNECTIONS, Connection, MADE, post};

/// What is offered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    /// The server.
    pub(super) address: SocketAddr,
    /// Events a second.
    pub(super) rate: f64,
    /// How long.
    pub(super) time: Duration,
}

/// What has come of it so far; read by others meanwhile.
#[derive(Debug, Default)]
pub(super) struct Offered {
    accepted: AtomicU64,
    refused: AtomicU64,
    times: Mutex<Histogram>,
}

impl Offered {
    /// Events answered with 202.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Events answered otherwise.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The times since it was asked for them before.
    pub(super) fn take_times(&self) -> Histogram {
        std::mem::take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn answered(&self, is_good: bool, millis: f64) {
        (if is_good { &self.accepted } else { &self.refused }).fetch_add(1, Ordering::Relaxed);
        self.times.lock().unwrap_or_else(PoisonError::into_inner).record(millis);
    }
}

impl Offer {
    /// Events in all.
    pub(super) fn total(self) -> u64 {
        self.due_by(self.time)
    }

    /// Makes the load on threads of its own.
    pub(super) fn start(self, offered: Arc<Offered>) -> Outcome<JoinHandle<Outcome<()>>> {
        let thread = std::thread::Builder::new().name("load".to_owned());
        Ok(thread.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(self.all(offered))
        })?)
    }

    /// Events that are due until then.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate times some hours, not negative and far below 2^52"
    )]
    fn due_by(self, time: Duration) -> u64 {
        (self.rate * time.as_secs_f64()) as u64
    }

    /// When event `n` is due: at the first whole millisecond at which `n + 1` events are.
    fn due(self, n: u64) -> Duration {
        Duration::from_secs_f64(((n + 1) as f64 * 1e3 / self.rate).ceil() / 1e3)
    }

    async fn all(self, offered: Arc<Offered>) -> Outcome<()> {
        let (due, next, begin) =
            (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)), Stopwatch::start());
        let pacing = {
            let due = Arc::clone(&due);
            std::thread::Builder::new().name("pace".to_owned()).spawn(move || self.pace(&due, begin))?
        };
        let mut connections = tokio::task::JoinSet::new();
        for at in 0..CONNECTIONS as u64 {
            let (due, next, offered) = (Arc::clone(&due), Arc::clone(&next), Arc::clone(&offered));
            connections.spawn(async move { self.one(at, &due, &next, &offered, begin).await });
        }
        let mut first = Ok(());
        while let Some(ended) = connections.join_next().await {
            first = first.and(ended?);
        }
        pacing.join().map_err(|_| "the pace is lost")?;
        first
    }

    /// Says each millisecond what is due now. A thread that sleeps is nearer to the millisecond than a timer of tokio.
    fn pace(self, due: &Semaphore, begin: Stopwatch) {
        let (mut said, total) = (0, self.total());
        let mut tick = Duration::ZERO;
        while said < total {
            tick += Duration::from_millis(1);
            pause(tick.saturating_sub(begin.elapsed()));
            let until = self.due_by(tick).min(total);
            due.add_permits(usize::try_from(until - said).unwrap_or_default());
            said = until;
        }
    }

    async fn one(
        self,
        at: u64,
        due: &Semaphore,
        next: &AtomicU64,
        offered: &Offered,
        begin: Stopwatch,
    ) -> Outcome<()> {
        let mut connection = Connection::open(self.address).await?;
        let requests: Vec<Vec<u8>> = (0..MADE).map(|n| post(INGESTED, at * MADE + n, "")).collect();
        let total = self.total();
        for request in requests.iter().cycle() {
            // The semaphore is fair, so that the next number belongs to the next permit.
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= total {
                break;
            }
            due.acquire().await?.forget();
            let is_good = connection.ask(request).await?;
            offered.answered(is_good, begin.elapsed().saturating_sub(self.due(n)).as_secs_f64() * 1e3);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_due_on_the_millisecond_at_which_they_are_let_go() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        for rate in [7.0, 1_000.0, 13_333.3] {
            let offer = Offer { address, rate, time: Duration::from_secs(3) };
            for n in 0..offer.total() {
                let due = offer.due(n);
                assert!(offer.due_by(due + Duration::from_micros(1)) > n, "{rate}/s, {n}: {due:?}");
                assert!(
                    offer.due_by(due.saturating_sub(Duration::from_millis(1))) <= n + 1,
                    "{rate}/s, {n}: {due:?}"
                );
            }
        }
    }
}
