//! Serve: the bus with its HTTP door, until a signal or a failed store ends it.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix::System;
use actix::clock::timeout;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::watch::watch;
use super::{ConfigSource, Running, StartError, files, start, wire};
use crate::bus::{Bus, Operator, ReloadAsk};
use crate::clock::Clock;
use crate::config::{Engine, HttpSettings, Settings};
use crate::http::{self, Door, Durability};
use crate::step::Registry;
use crate::store::StoreError;

/// How long requests that run may take once the door is closed.
const DOOR_PATIENCE: Duration = Duration::from_millis(500);

/// How long the store may take to close once nothing runs any more.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Serving could not begin, or ended with a failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The bus does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {bind}: {error}; stop what uses it, or set `http.bind` (TIDEGATE__HTTP__BIND) to another address"
    )]
    Bind {
        /// The address.
        bind: SocketAddr,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// The operating system refused something else.
    #[error("cannot serve: {0}")]
    Io(#[from] std::io::Error),
    /// The store failed while serving; everything acknowledged is on disk.
    #[error("the store failed: {0}; what was acknowledged is on disk, mend the cause and start again")]
    Store(#[from] StoreError),
}

/// Serves until SIGTERM or SIGINT, then drains and closes the store. `listening` is told the address when
/// the door is open. SIGHUP, an operator and, when the settings say so, a change of the files let it take the
/// wiring of `source` anew.
///
/// # Errors
/// [`ServeError`].
pub fn serve(
    settings: &Settings,
    registry: Registry,
    source: ConfigSource,
    listening: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    // Before the store: a second start on the same port should not wait for a recovery to be refused.
    let bind = settings.http.bind;
    let listener = TcpListener::bind(bind).map_err(|error| ServeError::Bind { bind, error })?;
    let address = listener.local_addr()?;
    let running = start(settings, registry, &Clock::wall())?;
    let door = door(&running, settings);
    let health = running.health().clone();
    let patience = settings.shutdown.drain;
    running.reload_from(&source);
    let (bus, watched) = (running.bus().clone(), settings.reload.watch.then_some(source));

    let system = System::new();
    let served = system.block_on(async move {
        // Before anybody can know that it is up, so that no signal finds it unprepared.
        let mut signals = Signals::listen()?;
        let server = http::serve(listener, door.clone())?;
        let handle = server.handle();
        let serving = actix::spawn(server);
        let watching = watched.map(|source| actix::spawn(watch(source, bus.clone())));
        listening(address);
        let failure = signals.until_the_end(&running, &bus).await;
        if let Some(watching) = watching {
            watching.abort();
        }
        health.draining();
        // What runs on a failed store cannot be recorded: nothing is gained by waiting for it.
        let patience = if failure.is_some() { Duration::ZERO } else { patience };
        // Who waits for a change is told how it stands now, while that can still be read.
        door.close();
        info!("draining: publishers are refused, running attempts may end");
        let ended = timeout(patience + CLOSE_PATIENCE, drain(running, patience)).await;
        // Who asks is answered while the bus drains; the door closes last.
        drop(timeout(DOOR_PATIENCE, handle.stop(true)).await);
        serving.abort();
        failure.map_or(Ok(()), Err)?;
        ended.unwrap_or_else(|_| {
            warn!("the drain took too long; what is on disk is safe");
            Ok(())
        })?;
        Ok::<(), ServeError>(())
    });
    served?;
    info!("stopped");
    Ok(())
}

/// Shuts the bus down on a thread of its own: it blocks.
async fn drain(running: Running, patience: Duration) -> Result<(), StoreError> {
    let ended = tokio::task::spawn_blocking(move || running.shut_down(patience)).await;
    ended.unwrap_or_else(|_| Err(StoreError::Poisoned { cause: "the shutdown panicked".to_owned() }))
}

/// What ends the process from outside.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal (`None`) or the store's failure; SIGHUP reloads meanwhile. A failed store that can be read is
    /// read until a signal.
    async fn until_the_end(&mut self, running: &Running, bus: &Bus) -> Option<StoreError> {
        let health = running.health();
        let mut has_failed = false;
        loop {
            tokio::select! {
                _ = self.term.recv() => info!("SIGTERM"),
                _ = self.int.recv() => info!("SIGINT"),
                Some(()) = self.hup.recv() => {
                    // On its own: a reload may wait for attempts, and the end must not wait for it.
                    actix::spawn(reload(bus.clone()));
                    continue;
                }
                () = health.store_failed(), if !has_failed => {
                    if health.is_read_only() {
                        error!("the store failed; nothing is taken and nothing runs until a restart, statuses are told");
                        running.stand_still();
                        has_failed = true;
                        continue;
                    }
                    error!("the store failed; the process ends");
                    return health.failure();
                }
            }
            return None;
        }
    }
}

async fn reload(bus: Bus) {
    let operator = Operator { by: "SIGHUP".to_owned(), reason: String::new() };
    // What comes of it is logged where it is done.
    let _told = bus.reload(ReloadAsk { dry_run: false, keeps_all: false, operator }).await.is_ok();
}

fn door(running: &Running, settings: &Settings) -> Door {
    let HttpSettings { max_body, body_timeout, max_batch, max_wait, workers, .. } = settings.http;
    let durability = match settings.store.engine {
        Engine::Sled => Durability::Disk,
        Engine::Memory => Durability::Memory,
    };
    let with = http::Settings {
        max_body,
        bodies_max: settings.bus.queue_bytes,
        batch_max: max_batch,
        body_timeout,
        max_wait,
        workers: (workers > 0).then_some(workers),
        max_connections: files::connections(if workers > 0 { workers } else { wire::cores() }),
        ..http::Settings::default()
    };
    Door::new(running.bus().clone(), durability, Arc::new(running.metrics()), running.counters(), with)
}
