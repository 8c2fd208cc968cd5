//! JetStream with a sync before every acknowledgement: publishing.
//!
//! The client writes `PUB` with a reply subject that ends in the publication's number and waits for the answer to
//! that number, as many at a time as there are publishers.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tidegate::clock::Stopwatch;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{mpsc, oneshot};

use super::server::{Server, find};
use crate::Outcome;
use crate::app::Load;
use crate::stats::percentile;

/// Where the server is, when it is there.
#[derive(Debug, Clone)]
pub(crate) struct Jetstream {
    program: PathBuf,
    disk: PathBuf,
}

impl Jetstream {
    /// Looks for the server.
    pub(crate) fn find(disk: &Path) -> Option<Self> {
        Some(Self { program: find("NATS_SERVER", "nats-server")?, disk: disk.to_owned() })
    }

    fn server(&self) -> Outcome<Server> {
        Server::start(&self.program, &self.disk, |command, port, folder| {
            let store = serde_json::Value::from(folder.display().to_string());
            let config = format!(
                "listen: 127.0.0.1:{port}\njetstream {{ store_dir: {store}, sync_interval: always }}\n"
            );
            std::fs::write(folder.join("nats.conf"), config)?;
            command.arg("--config").arg(folder.join("nats.conf"));
            Ok(())
        })
    }

    /// Events a second with `waiting` publishers.
    pub(crate) fn publish(&self, total: u64, waiting: u64) -> Outcome<f64> {
        self.with(async |nats| {
            let begin = Stopwatch::start();
            let publishers: Vec<_> = (0..waiting)
                .map(|at| {
                    let nats = nats.clone();
                    tokio::spawn(async move {
                        for n in (at..total).step_by(usize::try_from(waiting)?) {
                            nats.ask("events", &Load::new(n, false).json()).await?;
                        }
                        Outcome::Ok(())
                    })
                })
                .collect();
            for publisher in publishers {
                publisher.await??;
            }
            Ok(total as f64 / begin.elapsed().as_secs_f64())
        })
    }

    /// The median of one publication at a time, in microseconds.
    pub(crate) fn latency(&self, total: u64) -> Outcome<f64> {
        self.with(async |nats| {
            let mut times = Vec::new();
            for n in 0..total {
                let payload = Load::new(n, false).json();
                let begin = Stopwatch::start();
                nats.ask("events", &payload).await?;
                times.push(begin.elapsed().as_secs_f64() * 1e6);
            }
            Ok(percentile(&mut times, 0.5))
        })
    }

    fn with<T>(&self, work: impl AsyncFnOnce(Nats) -> Outcome<T>) -> Outcome<T> {
        let server = self.server()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let nats = Nats::connect(server.port).await?;
            let stream = br#"{"name":"events","subjects":["events"],"storage":"file","num_replicas":1}"#;
            nats.ask("$JS.API.STREAM.CREATE.events", stream).await?;
            work(nats).await
        })
    }
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Vec<u8>>>>>;

/// A connection. Cheap to clone.
#[derive(Debug, Clone)]
struct Nats {
    send: mpsc::UnboundedSender<Vec<u8>>,
    waiting: Waiting,
    next: Arc<std::sync::atomic::AtomicU64>,
}

impl Nats {
    async fn connect(port: u16) -> Outcome<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        let (read, mut write) = stream.into_split();
        write.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB inbox.* 1\r\n").await?;
        let (send, mut sent) = mpsc::unbounded_channel::<Vec<u8>>();
        let waiting = Waiting::default();
        tokio::spawn(reader(BufReader::with_capacity(64 * 1024, read), Arc::clone(&waiting), send.clone()));
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while sent.recv_many(&mut batch, 1_024).await > 0 {
                if write.write_all(&batch.concat()).await.is_err() {
                    return;
                }
                batch.clear();
            }
        });
        Ok(Self { send, waiting, next: Arc::default() })
    }

    /// Publishes and waits for the answer; one that tells of an error is an error.
    async fn ask(&self, subject: &str, payload: &[u8]) -> Outcome<()> {
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut bytes = format!("PUB {subject} inbox.{number} {}\r\n", payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        let (tell, told) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, tell);
        self.send.send(bytes).map_err(|_| "nats has closed the connection")?;
        let answer = told.await.map_err(|_| "nats has closed the connection")?;
        let answer = String::from_utf8_lossy(&answer);
        if answer.contains("\"error\"") { Err(format!("nats refuses: {answer}").into()) } else { Ok(()) }
    }
}

/// Gives each answer to whoever waits for its number, and answers the server's pings.
async fn reader(
    mut read: BufReader<OwnedReadHalf>,
    waiting: Waiting,
    send: mpsc::UnboundedSender<Vec<u8>>,
) -> Outcome<()> {
    let mut line = String::new();
    loop {
        line.clear();
        if read.read_line(&mut line).await? == 0 {
            waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
            return Ok(());
        }
        // MSG inbox.7 1 42
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["MSG", subject, _, .., length] => {
                let number = subject.strip_prefix("inbox.").unwrap_or_default().parse::<u64>()?;
                let mut payload = vec![0; length.parse::<usize>()? + 2];
                read.read_exact(&mut payload).await?;
                if let Some(waiter) = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&number) {
                    drop(waiter.send(payload));
                }
            }
            ["PING"] => send.send(b"PONG\r\n".to_vec())?,
            _ => {}
        }
    }
}
