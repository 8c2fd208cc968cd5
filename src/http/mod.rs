//! Http: the door. Events come in, statuses are asked for, operators act.
//!
//! Every handler reads its request, asks the bus and answers; none blocks, and none knows how the bus does
//! it. All that goes wrong becomes one [`HttpError`], and the guard around the whole service turns it into
//! `application/problem+json`, panics and the server's own 404 and 405 included.
//!
//! ```text
//! request ── guard: request id, span, limits, panics ── handler ── Bus
//!                └─ problem+json <── HttpError ────────────┘
//! ```

mod answer;
mod audit;
mod body;
mod bulk;
mod code;
mod dead_letters;
mod delayed;
mod envelope;
mod explain;
mod flow;
mod guard;
mod health;
mod mend;
mod openapi;
mod problem;
mod publish;
mod reload;
mod replays;
mod request;
mod route;
mod schedules;
mod search;
mod sse;
mod status;
mod steering;
mod subscriptions;
mod unheard;
mod upkeep;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::bus::Bus;
use crate::metrics::Metrics as Counters;

pub use problem::{Fault, HttpError, Problem};
pub use route::configure;

/// Makes the text of `/metrics`.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Limits and times of the door; every one has a default.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The most bytes of a body.
    pub max_body: usize,
    /// The most bytes of bodies that are being read, of all connections together; those that come in one piece do not
    /// count.
    pub bodies_max: usize,
    /// The most events of a batch.
    pub batch_max: usize,
    /// The most header lines of a request; the parser refuses more than 96 by itself.
    pub headers_max: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long the head of a request may take to arrive.
    pub head_timeout: Duration,
    /// The longest time that `Prefer: wait=N` is granted.
    pub max_wait: Duration,
    /// How often a status that is awaited or streamed is read again though nothing was told: a flow may
    /// fail because another one's dead letter holds its key.
    pub look_again: Duration,
    /// What `Retry-After` says to those who poll.
    pub retry_after: Duration,
    /// The most event streams at once, all workers together.
    pub max_streams: usize,
    /// How often a silent event stream gives a sign of life.
    pub heartbeat: Duration,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How long a shutdown waits for requests that run.
    pub shutdown_timeout: Duration,
    /// Worker threads; `None` means one for each core.
    pub workers: Option<usize>,
    /// The most connections of one worker.
    pub max_connections: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_body: 1024 * 1024,
            bodies_max: 64 * 1024 * 1024,
            batch_max: 1000,
            headers_max: 90,
            body_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(5),
            max_wait: Duration::from_mins(1),
            look_again: Duration::from_secs(1),
            retry_after: Duration::from_secs(1),
            max_streams: 1000,
            heartbeat: Duration::from_secs(15),
            keep_alive: Duration::from_secs(75),
            shutdown_timeout: Duration::from_secs(30),
            workers: None,
            max_connections: 25_000,
        }
    }
}

/// Where an acknowledged event is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// It survives the process and a power cut.
    Disk,
    /// It is gone with the process.
    Memory,
}

/// All that the handlers need. Cheap to clone; clones share the counts of streams and of bodies.
#[derive(Clone)]
pub struct Door {
    /// The bus.
    pub bus: Bus,
    /// What the store promises.
    pub durability: Durability,
    /// Makes the text of `/metrics`.
    pub metrics: Metrics,
    /// Where requests are counted.
    pub counters: Arc<Counters>,
    /// Limits and times.
    pub settings: Arc<Settings>,
    streams: Arc<Semaphore>,
    bodies: Arc<body::Bodies>,
    closing: CancellationToken,
}

impl Door {
    /// A door to `bus`.
    pub fn new(
        bus: Bus,
        durability: Durability,
        metrics: Metrics,
        counters: Arc<Counters>,
        settings: Settings,
    ) -> Self {
        let streams = Arc::new(Semaphore::new(settings.max_streams.min(Semaphore::MAX_PERMITS)));
        Self {
            bus,
            durability,
            metrics,
            counters,
            settings: Arc::new(settings),
            streams,
            bodies: Arc::default(),
            closing: CancellationToken::new(),
        }
    }
}

impl Door {
    /// The door as one worker has it: a commit or a read wakes the worker once for many of its requests.
    fn on_this_thread(&self) -> Self {
        let (bus, served) = self.bus.for_many();
        actix_web::rt::spawn(served);
        Self { bus, ..self.clone() }
    }

    /// Ends the streams and the waiting of long polls, now and from now on, with what is known at this
    /// moment. The first step of a shutdown: the server then stops without waiting for them.
    pub fn close(&self) {
        self.closing.cancel();
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bus, durability, metrics: _, counters: _, settings, streams, bodies, closing } = self;
        f.debug_struct("Door")
            .field("bus", bus)
            .field("durability", durability)
            .field("settings", settings)
            .field("streams", streams)
            .field("bodies", bodies)
            .field("closing", closing)
            .finish_non_exhaustive()
    }
}

/// The whole service: all routes inside of the guard.
pub fn app(
    door: Door,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    App::new().wrap(from_fn(guard::guard)).configure(move |routes| configure(routes, door))
}

/// Starts to serve on `listener`; the server runs when it is awaited or spawned.
///
/// It does not listen to signals: who started it calls [`Door::close`] and stops it through
/// [`Server::handle`].
///
/// # Errors
/// The operating system refuses the listener.
pub fn serve(listener: TcpListener, door: Door) -> std::io::Result<Server> {
    let settings = Arc::clone(&door.settings);
    let mut server = HttpServer::new(move || app(door.on_this_thread()))
        .disable_signals()
        .keep_alive(settings.keep_alive)
        // A client that is gone must not hold its stream or its long poll until the next sign of life.
        .h1_allow_half_closed(false)
        .client_request_timeout(settings.head_timeout)
        .shutdown_timeout(settings.shutdown_timeout.as_secs().max(1))
        .max_connections(settings.max_connections)
        .tcp_nodelay(true);
    if let Some(workers) = settings.workers {
        server = server.workers(workers.max(1));
    }
    Ok(server.listen(listener)?.run())
}

#[cfg(test)]
mod tests;
