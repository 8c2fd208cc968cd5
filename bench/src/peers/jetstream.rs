//! The work of the rows, done by JetStream with a sync before every acknowledgement of a publication.
//!
//! Consumers get pushed what there is and acknowledge all they have taken at once with the last of it, which is answered: the fewest
//! commands that JetStream can do it with. When it stores an acknowledgement of a consumer, no setting says. State is one
//! more publication, as its key-value store makes it; nothing makes state, next event and acknowledgement one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tidegate::clock::Stopwatch;
use tokio::sync::{Semaphore, mpsc};

use super::READ;
use super::nats::{Message, Nats};
use super::server::{Server, find};
use crate::Outcome;
use crate::app::Load;
use crate::process::resident_peak;
use crate::stats::percentile;

/// Hops of the chain.
const HOPS: usize = 5;
/// Flows before the first one that counts.
const WARM: u64 = 50;
/// Messages that a consumer may have without an acknowledgement.
const PENDING: usize = 4 * READ;

/// Where the server is, when it is there.
#[derive(Debug, Clone)]
pub(crate) struct Jetstream {
    program: PathBuf,
    disk: PathBuf,
}

/// A backlog in JetStream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    /// Events a second published.
    pub(crate) publish: f64,
    /// Events a second drained.
    pub(crate) drain: f64,
    /// The most memory in bytes.
    pub(crate) resident: u64,
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
    pub(crate) fn publish(&self, total: u64, waiting: usize) -> Outcome<f64> {
        self.with(async |nats, _| publish(&nats, total, waiting).await)
    }

    /// The median of one publication at a time, in microseconds.
    pub(crate) fn latency(&self, total: u64) -> Outcome<f64> {
        self.with(async |nats, _| {
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

    /// Flows a second with `window` of them under way, until all is acknowledged.
    pub(crate) fn chain(&self, flows: u64, window: usize) -> Outcome<f64> {
        self.with(async |nats, server| {
            let slots = Arc::new(Semaphore::new(window));
            let mut told = hops(server.port).await?;
            let begin = Stopwatch::start();
            let room = Arc::clone(&slots);
            let publishing = tokio::spawn(async move {
                for n in 0..flows {
                    room.acquire().await?.forget();
                    let nats = nats.clone();
                    tokio::spawn(async move { nats.ask("hop.1", &Load::new(n, false).json()).await });
                }
                Outcome::Ok(())
            });
            for _ in 0..flows {
                told.recv().await.ok_or("the consumers of nats have ended")?;
                slots.add_permits(1);
            }
            publishing.await??;
            Ok(flows as f64 / begin.elapsed().as_secs_f64())
        })
    }

    /// The median and the 99th percentile of a flow in milliseconds, at an even pace.
    pub(crate) fn paced(&self, pace: f64, flows: u64) -> Outcome<(f64, f64)> {
        self.with(async |nats, server| {
            let mut told = hops(server.port).await?;
            let begin = Stopwatch::start();
            tokio::spawn(async move {
                for n in 0..flows + WARM {
                    let due = Duration::from_secs_f64(n as f64 / pace);
                    tokio::time::sleep(due.saturating_sub(begin.elapsed())).await;
                    let nats = nats.clone();
                    tokio::spawn(async move { nats.ask("hop.1", &Load::new(n, false).json()).await });
                }
            });
            let mut times = Vec::new();
            for n in 0..flows + WARM {
                // One flow has long ended when the next one begins, so that they come in order.
                told.recv().await.ok_or("the consumers of nats have ended")?;
                let sent = Duration::from_secs_f64(n as f64 / pace);
                if n >= WARM {
                    times.push(begin.elapsed().saturating_sub(sent).as_secs_f64() * 1e3);
                }
            }
            Ok((percentile(&mut times, 0.5), percentile(&mut times, 0.99)))
        })
    }

    /// Deliveries a second to five consumers, until all are acknowledged.
    pub(crate) fn fan_out(&self, total: u64, waiting: usize) -> Outcome<f64> {
        self.with(async |nats, server| {
            let mut consumers = Vec::new();
            for name in ["a", "b", "c", "d", "e"] {
                let own = Nats::connect(server.port).await?;
                let taken = consumer(&own, name, "events").await?;
                consumers.push(tokio::spawn(drain(own, taken, total)));
            }
            let begin = Stopwatch::start();
            publish(&nats, total, waiting).await?;
            for consumer in consumers {
                consumer.await??;
            }
            Ok(5.0 * total as f64 / begin.elapsed().as_secs_f64())
        })
    }

    /// A backlog that is published, then drained by one consumer.
    pub(crate) fn backlog(&self, total: u64, waiting: usize) -> Outcome<Kept> {
        self.with(async |nats, server| {
            let published = publish(&nats, total, waiting).await?;
            let begin = Stopwatch::start();
            let taken = consumer(&nats, "g", "events").await?;
            drain(nats, taken, total).await?;
            let drained = total as f64 / begin.elapsed().as_secs_f64();
            Ok(Kept { publish: published, drain: drained, resident: resident_peak(Some(server.pid())) })
        })
    }

    fn with<T>(&self, work: impl AsyncFnOnce(Nats, &Server) -> Outcome<T>) -> Outcome<T> {
        let server = self.server()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let nats = Nats::connect(server.port).await?;
            let stream =
                json!({ "name": "all", "subjects": ["events", "hop.*"], "storage": "file", "num_replicas": 1 });
            nats.ask("$JS.API.STREAM.CREATE.all", stream.to_string().as_bytes()).await?;
            // A key-value store: the last message of each subject stays.
            let states = json!({ "name": "states", "subjects": ["state.>"], "storage": "file", "num_replicas": 1,
                "max_msgs_per_subject": 1 });
            nats.ask("$JS.API.STREAM.CREATE.states", states.to_string().as_bytes()).await?;
            work(nats, &server).await
        })
    }
}

async fn publish(nats: &Nats, total: u64, waiting: usize) -> Outcome<f64> {
    let next = Arc::new(AtomicU64::new(0));
    let begin = Stopwatch::start();
    let publishers: Vec<_> = (0..waiting)
        .map(|_| {
            let (nats, next) = (nats.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= total {
                        return Outcome::Ok(());
                    }
                    nats.ask("events", &Load::new(n, false).json()).await?;
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await??;
    }
    Ok(total as f64 / begin.elapsed().as_secs_f64())
}

/// Makes a durable consumer of a subject and takes what is pushed to it.
async fn consumer(nats: &Nats, name: &str, of: &str) -> Outcome<mpsc::UnboundedReceiver<Message>> {
    let subject = format!("in.{name}");
    let taken = nats.take(&subject)?;
    let config = json!({ "stream_name": "all", "config": {
        "durable_name": name, "deliver_subject": subject, "filter_subject": of, "ack_policy": "all",
        "max_ack_pending": PENDING,
    } });
    nats.ask(&format!("$JS.API.CONSUMER.DURABLE.CREATE.all.{name}"), config.to_string().as_bytes()).await?;
    Ok(taken)
}

/// What there is, up to what a consumer reads at once.
async fn some(taken: &mut mpsc::UnboundedReceiver<Message>) -> Outcome<Vec<Message>> {
    let mut messages = Vec::new();
    if taken.recv_many(&mut messages, READ).await == 0 {
        return Err("nats has closed the connection".into());
    }
    Ok(messages)
}

/// Acknowledges all up to the last of these, and waits for the answer.
async fn acknowledge(nats: &Nats, messages: &[Message]) -> Outcome<()> {
    match messages.last() {
        Some(last) => nats.ask(&last.reply, b"+ACK").await,
        None => Ok(()),
    }
}

/// Reads and acknowledges until `total` are.
async fn drain(nats: Nats, mut taken: mpsc::UnboundedReceiver<Message>, total: u64) -> Outcome<()> {
    let mut count = 0;
    while count < total {
        let messages = some(&mut taken).await?;
        for message in &messages {
            Load::read(&message.payload)?;
        }
        acknowledge(&nats, &messages).await?;
        count += messages.len() as u64;
    }
    Ok(())
}

/// Starts the consumers of the chain; the last one tells of every flow.
async fn hops(port: u16) -> Outcome<mpsc::UnboundedReceiver<()>> {
    let (done, told) = mpsc::unbounded_channel();
    for hop in 1..=HOPS {
        let nats = Nats::connect(port).await?;
        let taken = consumer(&nats, &format!("hop-{hop}"), &format!("hop.{hop}")).await?;
        tokio::spawn(consume(nats, hop, taken, done.clone()));
    }
    Ok(told)
}

async fn consume(
    nats: Nats,
    hop: usize,
    mut taken: mpsc::UnboundedReceiver<Message>,
    done: mpsc::UnboundedSender<()>,
) -> Outcome<()> {
    let next = format!("hop.{}", hop + 1);
    let mut handled = 0_u64;
    loop {
        let messages = some(&mut taken).await?;
        let loads =
            messages.iter().map(|message| Load::read(&message.payload)).collect::<Outcome<Vec<_>>>()?;
        let work: Vec<_> = loads
            .into_iter()
            .map(|load| {
                handled += 1;
                let state = (format!("state.{hop}.{}", load.key()), handled.to_string());
                tokio::spawn(handle(nats.clone(), state, (hop < HOPS).then(|| next.clone()), load))
            })
            .collect();
        for one in work {
            one.await??;
        }
        acknowledge(&nats, &messages).await?;
        for _ in 0..if hop == HOPS { messages.len() } else { 0 } {
            if done.send(()).is_err() {
                return Ok(());
            }
        }
    }
}

/// Keeps a state, and publishes the next event where there is one.
async fn handle(nats: Nats, state: (String, String), next: Option<String>, load: Load) -> Outcome<()> {
    nats.ask(&state.0, state.1.as_bytes()).await?;
    match next {
        Some(next) => nats.ask(&next, &load.json()).await,
        None => Ok(()),
    }
}
