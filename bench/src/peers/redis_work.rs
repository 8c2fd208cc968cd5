//! The work of the rows, done by Redis Streams with a sync before every answer.
//!
//! What Tidegate does in one change (state, emit, done) is one transaction here, over all events that a consumer
//! has read at once: the fewest commands and syncs that Redis can do it with. It remembers no ids.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate::clock::Stopwatch;
use tokio::sync::{Semaphore, mpsc};

use super::READ;
use super::redis::Redis;
use super::resp::{Reply, command};
use super::server::{Server, find};
use crate::Outcome;
use crate::app::Load;
use crate::process::{disk_bytes, resident_peak};
use crate::stats::percentile;

/// The group of every consumer.
const GROUP: &[u8] = b"g";
/// Hops of the chain.
const HOPS: usize = 5;
/// Flows before the first one that counts.
const WARM: u64 = 50;

/// Where the server of Redis is, when it is there.
#[derive(Debug, Clone)]
pub(crate) struct RedisWork {
    program: PathBuf,
    disk: PathBuf,
}

/// A backlog in Redis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backlog {
    /// Events a second published.
    pub(crate) publish: f64,
    /// Events a second drained.
    pub(crate) drain: f64,
    /// The most memory in bytes.
    pub(crate) resident: u64,
    /// Bytes on disk with the backlog.
    pub(crate) disk: u64,
}

impl RedisWork {
    /// Looks for the server.
    pub(crate) fn find(disk: &Path) -> Option<Self> {
        Some(Self { program: find("REDIS_SERVER", "redis-server")?, disk: disk.to_owned() })
    }

    /// Starts a server that syncs before it answers.
    pub(crate) fn server(&self) -> Outcome<Server> {
        Server::start(&self.program, &self.disk, |command, port, folder| {
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]);
            command.arg(folder).args(["--appendonly", "yes", "--appendfsync", "always"]);
            Ok(())
        })
    }

    /// Events a second with `waiting` publishers.
    pub(crate) fn publish(&self, total: u64, waiting: usize) -> Outcome<f64> {
        let server = self.server()?;
        runtime()?.block_on(async { publish(Redis::connect(server.port).await?, "s", total, waiting).await })
    }

    /// The median of one publication at a time, in microseconds.
    pub(crate) fn latency(&self, total: u64) -> Outcome<f64> {
        let server = self.server()?;
        runtime()?.block_on(async {
            let redis = Redis::connect(server.port).await?;
            let mut times = Vec::new();
            for n in 0..total {
                let payload = Load::new(n, false).json();
                let begin = Stopwatch::start();
                redis.add("s", &payload).await?;
                times.push(begin.elapsed().as_secs_f64() * 1e6);
            }
            Ok(percentile(&mut times, 0.5))
        })
    }

    /// Flows a second with `window` of them under way, until all is acknowledged on disk.
    pub(crate) fn chain(&self, flows: u64, window: usize) -> Outcome<f64> {
        let server = self.server()?;
        runtime()?.block_on(async {
            let slots = Arc::new(Semaphore::new(window));
            let (done, mut told) = mpsc::unbounded_channel();
            hops(server.port, &done).await?;
            let redis = Redis::connect(server.port).await?;
            let begin = Stopwatch::start();
            let room = Arc::clone(&slots);
            let publishing = tokio::spawn(async move {
                for n in 0..flows {
                    room.acquire().await?.forget();
                    let redis = redis.clone();
                    tokio::spawn(async move { redis.add("hop-1", &Load::new(n, false).json()).await });
                }
                Outcome::Ok(())
            });
            for _ in 0..flows {
                told.recv().await.ok_or("the consumers of redis have ended")?;
                slots.add_permits(1);
            }
            publishing.await??;
            Ok(flows as f64 / begin.elapsed().as_secs_f64())
        })
    }

    /// The median and the 99th percentile of a flow in milliseconds, at an even pace.
    pub(crate) fn paced(&self, pace: f64, flows: u64) -> Outcome<(f64, f64)> {
        let server = self.server()?;
        runtime()?.block_on(async {
            let (done, mut told) = mpsc::unbounded_channel();
            hops(server.port, &done).await?;
            let redis = Redis::connect(server.port).await?;
            let begin = Stopwatch::start();
            tokio::spawn(async move {
                for n in 0..flows + WARM {
                    let due = Duration::from_secs_f64(n as f64 / pace);
                    tokio::time::sleep(due.saturating_sub(begin.elapsed())).await;
                    let redis = redis.clone();
                    tokio::spawn(async move { redis.add("hop-1", &Load::new(n, false).json()).await });
                }
            });
            let mut times = Vec::new();
            for n in 0..flows + WARM {
                // One flow has long ended when the next one begins, so that they come in order.
                told.recv().await.ok_or("the consumers of redis have ended")?;
                let sent = Duration::from_secs_f64(n as f64 / pace);
                if n >= WARM {
                    times.push(begin.elapsed().saturating_sub(sent).as_secs_f64() * 1e3);
                }
            }
            Ok((percentile(&mut times, 0.5), percentile(&mut times, 0.99)))
        })
    }

    /// Deliveries a second to five groups, until all are acknowledged on disk.
    pub(crate) fn fan_out(&self, total: u64, waiting: usize) -> Outcome<f64> {
        let server = self.server()?;
        runtime()?.block_on(async {
            let acked = Arc::new(AtomicU64::new(0));
            let mut consumers = Vec::new();
            for group in ["a", "b", "c", "d", "e"] {
                let redis = Redis::connect(server.port).await?;
                make_group(&redis, "s", group.as_bytes()).await?;
                consumers.push(tokio::spawn(drain(redis, "s", group, total, Arc::clone(&acked))));
            }
            let begin = Stopwatch::start();
            publish(Redis::connect(server.port).await?, "s", total, waiting).await?;
            for consumer in consumers {
                consumer.await??;
            }
            Ok(acked.load(Ordering::Acquire) as f64 / begin.elapsed().as_secs_f64())
        })
    }

    /// A backlog that is published, then drained by one consumer.
    pub(crate) fn backlog(&self, total: u64, waiting: usize) -> Outcome<Backlog> {
        let server = self.server()?;
        runtime()?.block_on(async {
            let redis = Redis::connect(server.port).await?;
            make_group(&redis, "s", GROUP).await?;
            let published = publish(redis.clone(), "s", total, waiting).await?;
            let disk = disk_bytes(server.folder())?;
            let begin = Stopwatch::start();
            drain(redis, "s", "g", total, Arc::default()).await?;
            let drained = total as f64 / begin.elapsed().as_secs_f64();
            Ok(Backlog {
                publish: published,
                drain: drained,
                resident: resident_peak(Some(server.pid())),
                disk,
            })
        })
    }
}

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

async fn publish(redis: Redis, stream: &'static str, total: u64, waiting: usize) -> Outcome<f64> {
    let next = Arc::new(AtomicU64::new(0));
    let begin = Stopwatch::start();
    let publishers: Vec<_> = (0..waiting)
        .map(|_| {
            let (redis, next) = (redis.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= total {
                        return Outcome::Ok(());
                    }
                    redis.add(stream, &Load::new(n, false).json()).await?;
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await??;
    }
    Ok(total as f64 / begin.elapsed().as_secs_f64())
}

async fn make_group(redis: &Redis, stream: &str, group: &[u8]) -> Outcome<()> {
    redis.ask(&[b"XGROUP", b"CREATE", stream.as_bytes(), group, b"$", b"MKSTREAM"]).await.map(drop)
}

/// What a consumer reads next; `None` when nothing came for a while.
async fn read(redis: &Redis, stream: &str, group: &[u8]) -> Outcome<Option<Reply>> {
    let count = READ.to_string();
    let ask: [&[u8]; 11] = [
        b"XREADGROUP",
        b"GROUP",
        group,
        b"c",
        b"COUNT",
        count.as_bytes(),
        b"BLOCK",
        b"1000",
        b"STREAMS",
        stream.as_bytes(),
        b">",
    ];
    let reply = redis.ask(&ask).await?;
    // [[stream, [[id, [field, payload]], …]]]
    Ok(reply.list().first().and_then(|stream| stream.list().get(1)).cloned())
}

/// Reads and acknowledges until `total` are.
async fn drain(redis: Redis, stream: &str, group: &str, total: u64, acked: Arc<AtomicU64>) -> Outcome<()> {
    let mut count = 0;
    while count < total {
        let Some(entries) = read(&redis, stream, group.as_bytes()).await? else { continue };
        let mut ack: Vec<&[u8]> = vec![b"XACK", stream.as_bytes(), group.as_bytes()];
        for entry in entries.list() {
            let [id, fields] = entry.list() else { continue };
            Load::read(fields.list().get(1).map(Reply::text).unwrap_or_default())?;
            ack.push(id.text());
        }
        let read = ack.len() as u64 - 3;
        redis.ask(&ack).await?;
        count += read;
        acked.fetch_add(read, Ordering::AcqRel);
    }
    Ok(())
}

/// Starts the consumers of the chain; the last one tells `done` of every flow.
async fn hops(port: u16, done: &mpsc::UnboundedSender<()>) -> Outcome<()> {
    for hop in 1..=HOPS {
        let redis = Redis::connect(port).await?;
        make_group(&redis, &format!("hop-{hop}"), GROUP).await?;
        tokio::spawn(consume(redis, hop, done.clone()));
    }
    Ok(())
}

async fn consume(redis: Redis, hop: usize, done: mpsc::UnboundedSender<()>) -> Outcome<()> {
    let (stream, next, state) = (format!("hop-{hop}"), format!("hop-{}", hop + 1), format!("state-{hop}"));
    while !done.is_closed() {
        let Some(entries) = read(&redis, &stream, GROUP).await? else { continue };
        let (mut bytes, mut commands, mut flows) = (Vec::new(), 2, 0);
        command(&[b"MULTI"], &mut bytes);
        for entry in entries.list() {
            let [id, fields] = entry.list() else { continue };
            let load = Load::read(fields.list().get(1).map(Reply::text).unwrap_or_default())?;
            command(&[b"HINCRBY", state.as_bytes(), load.key().as_bytes(), b"1"], &mut bytes);
            command(&[b"XACK", stream.as_bytes(), GROUP, id.text()], &mut bytes);
            commands += 2;
            if hop < HOPS {
                command(&[b"XADD", next.as_bytes(), b"*", b"d", &load.json()], &mut bytes);
                commands += 1;
            }
            flows += 1;
        }
        command(&[b"EXEC"], &mut bytes);
        redis.ask_all(bytes, commands).await?;
        for _ in 0..if hop == HOPS { flows } else { 0 } {
            if done.send(()).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
