//! Load over HTTP: connections that are kept, one request at a time on each, on one thread of its own.
//!
//! It shares the machine with the server that it loads, so it does as little as it can: a request is bytes
//! that were made before, and of an answer it reads the status and the length.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use memchr::memmem::Finder;
use tidegate::clock::Stopwatch;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Outcome;
use crate::app::Load;
use crate::children::pause;
use crate::stats::percentile;

/// Connections of every load.
pub(crate) const CONNECTIONS: usize = 64;
/// The most bytes of an answer that is read.
const ANSWER_MAX: usize = 64 * 1024;
/// Requests that a connection has ready; it sends them one after the other, again and again.
pub(crate) const MADE: u64 = 512;

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    /// Publishes 256-byte JSON under this name.
    Post(&'static str),
    /// Polls the statuses of so many ids that [`publish_known`] has published.
    Poll(u64),
}

/// A load to be made.
#[derive(Debug, Clone)]
pub(crate) struct Loading {
    /// The server.
    pub(crate) address: SocketAddr,
    /// What is asked for.
    pub(crate) ask: Ask,
    /// How long, after a tenth of it to warm up.
    pub(crate) time: Duration,
    /// Requests a second over all connections; `None` is as many as there can be.
    pub(crate) pace: Option<f64>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Loaded {
    /// Answers of the 2xx kind a second.
    pub(crate) rate: f64,
    /// How many that were, those of the warming up too.
    pub(crate) answered: u64,
    /// Answers of another kind.
    pub(crate) refused: u64,
    /// The median time of one request, in milliseconds.
    pub(crate) median: f64,
    /// The time that 99 of 100 take at most.
    pub(crate) p99: f64,
}

impl Loading {
    /// Makes the load and waits for its end.
    pub(crate) fn run(self) -> Outcome<Loaded> {
        self.start()?.join().map_err(|_| "the load generator panicked")?
    }

    /// Makes the load on a thread of its own.
    pub(crate) fn start(self) -> Outcome<JoinHandle<Outcome<Loaded>>> {
        let thread = std::thread::Builder::new().name("load".to_owned());
        Ok(thread.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(self.all())
        })?)
    }

    async fn all(self) -> Outcome<Loaded> {
        let loading = Arc::new(self);
        let begin = Stopwatch::start();
        let connections: Vec<_> =
            (0..CONNECTIONS).map(|at| tokio::spawn(Arc::clone(&loading).one(at, begin))).collect();
        let (mut loaded, mut times, mut counted) = (Loaded::default(), Vec::new(), 0);
        for connection in connections {
            let of = connection.await??;
            loaded.answered += of.answered;
            loaded.refused += of.refused;
            counted += of.times.len();
            times.extend(of.times);
        }
        loaded.rate = counted as f64 / loading.time.as_secs_f64();
        loaded.median = percentile(&mut times, 0.5);
        loaded.p99 = percentile(&mut times, 0.99);
        Ok(loaded)
    }

    async fn one(self: Arc<Self>, at: usize, begin: Stopwatch) -> Outcome<Connection> {
        let mut connection = Connection::open(self.address).await?;
        let requests: Vec<Vec<u8>> = (0..MADE).map(|n| self.request(at as u64 * MADE + n)).collect();
        let warm = self.time / 10;
        let gap = self.pace.map(|pace| Duration::from_secs_f64(CONNECTIONS as f64 / pace));
        let mut due = begin.elapsed() + gap.unwrap_or_default().mul_f64(at as f64 / CONNECTIONS as f64);
        for request in requests.iter().cycle() {
            if let Some(gap) = gap {
                tokio::time::sleep(due.saturating_sub(begin.elapsed())).await;
                due += gap;
            }
            let sent = begin.elapsed();
            let is_good = connection.ask(request).await?;
            let now = begin.elapsed();
            if is_good && sent >= warm && now <= warm + self.time {
                connection.times.push(now.saturating_sub(sent).as_secs_f64() * 1e3);
            }
            if now >= warm + self.time {
                break;
            }
        }
        Ok(connection)
    }

    fn request(&self, n: u64) -> Vec<u8> {
        match self.ask {
            Ask::Post(name) => post(name, n, ""),
            Ask::Poll(known) => {
                let path = known_status(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % known.max(1));
                format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").into_bytes()
            }
        }
    }
}

/// Publishes `count` events whose ids [`Ask::Poll`] knows.
pub(crate) fn publish_known(address: SocketAddr, name: &str, count: u64) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = Connection::open(address).await?;
        for n in 0..count {
            let header = format!("Idempotency-Key: \"{}\"\r\n", known_id(n));
            if !connection.ask(&post(name, n, &header)).await? {
                return Err(format!("the server refuses event {n} before the measure begins").into());
            }
        }
        Ok(())
    })
}

/// Sends one request with an empty JSON object, and says whether the answer is of the 2xx kind.
pub(crate) fn ask_once(address: SocketAddr, method: &str, path: &str) -> Outcome<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let head = "Host: bench\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let request = format!("{method} {path} HTTP/1.1\r\n{head}");
    runtime.block_on(async { Connection::open(address).await?.ask(request.as_bytes()).await })
}

/// Waits until the server takes events.
pub(crate) fn ready(address: SocketAddr) -> Outcome<()> {
    while !ask_once(address, "GET", "/ready")? {
        pause(Duration::from_millis(1));
    }
    Ok(())
}

/// The body of what a GET answers.
pub(crate) fn fetch(address: SocketAddr, path: &str) -> Outcome<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
    runtime.block_on(async {
        let mut connection = Connection::open(address).await?;
        if !connection.ask(request.as_bytes()).await? {
            return Err(format!("{path} is refused").into());
        }
        Ok(String::from_utf8_lossy(connection.body()).into_owned())
    })
}

/// The path of the status of what [`publish_known`] has published as its `n`-th.
pub(crate) fn known_status(n: u64) -> String {
    format!("/v1/events/{}", known_id(n))
}

fn known_id(n: u64) -> String {
    format!("known-{n}")
}

/// The request that publishes event `n`.
pub(crate) fn post(name: &str, n: u64, header: &str) -> Vec<u8> {
    let body = Load::new(n, false).json();
    let length = body.len();
    let mut request = format!(
        "POST /v1/events/{name} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n{header}Content-Length: {length}\r\n\r\n"
    )
    .into_bytes();
    request.extend(body);
    request
}

/// One connection, with what it has counted.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
    end_of_head: Finder<'static>,
    length: Finder<'static>,
    answered: u64,
    refused: u64,
    times: Vec<f64>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            read: Vec::with_capacity(4096),
            end_of_head: Finder::new(b"\r\n\r\n"),
            length: Finder::new(b"content-length: "),
            answered: 0,
            refused: 0,
            times: Vec::new(),
        })
    }

    /// Sends one request and reads its answer; whether it is of the 2xx kind.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Outcome<bool> {
        self.stream.write_all(request).await?;
        self.read.clear();
        loop {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err("the server closed a connection in the middle of an answer".into());
            }
            if let Some(is_good) = self.answer() {
                *(if is_good { &mut self.answered } else { &mut self.refused }) += 1;
                return Ok(is_good);
            }
            if self.read.len() > ANSWER_MAX {
                return Err("an answer is longer than this load generator reads".into());
            }
        }
    }

    /// What stands behind the head of the last answer.
    fn body(&self) -> &[u8] {
        self.end_of_head.find(&self.read).and_then(|end| self.read.get(end + 4..)).unwrap_or_default()
    }

    /// Whether the answer is good, once all of it is there.
    fn answer(&self) -> Option<bool> {
        let head = self.read.get(..self.end_of_head.find(&self.read)?)?;
        let status = head.get(9)?;
        // Both actix-web and we write header names in lower case.
        let digits = self.length.find(head).and_then(|at| head.get(at + 16..)).unwrap_or_default();
        let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
        let body = digits.fold(0, |sum, byte| sum * 10 + usize::from(byte - b'0'));
        (self.read.len() >= head.len() + 4 + body).then_some(*status == b'2')
    }
}
