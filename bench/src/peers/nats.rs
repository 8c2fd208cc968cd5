//! A small client of NATS: publications wait for the answer to their number, and subscriptions get what is pushed to them.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{mpsc, oneshot};

use crate::Outcome;

/// Commands that are written at once.
const WRITTEN: usize = 1_024;
/// The subscription to which answers come.
const INBOX: u64 = 1;

/// A connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Nats {
    send: mpsc::UnboundedSender<Vec<u8>>,
    shared: Arc<Shared>,
}

/// What the reader gives its messages to.
#[derive(Debug, Default)]
struct Shared {
    /// Numbers of publications and of subscriptions.
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Vec<u8>>>>,
    taking: Mutex<HashMap<u64, mpsc::UnboundedSender<Message>>>,
}

/// A message that was pushed.
#[derive(Debug)]
pub(super) struct Message {
    /// Where it is acknowledged.
    pub(super) reply: String,
    pub(super) payload: Vec<u8>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Nats {
    /// Connects to the server on this port of loopback.
    pub(super) async fn connect(port: u16) -> Outcome<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        let (read, mut write) = stream.into_split();
        let hello = format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB inbox.* {INBOX}\r\n");
        write.write_all(hello.as_bytes()).await?;
        let (send, mut sent) = mpsc::unbounded_channel::<Vec<u8>>();
        let shared = Arc::new(Shared { next: AtomicU64::new(INBOX + 1), ..Shared::default() });
        tokio::spawn(reader(BufReader::with_capacity(64 * 1024, read), Arc::clone(&shared), send.clone()));
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while sent.recv_many(&mut batch, WRITTEN).await > 0 {
                if write.write_all(&batch.concat()).await.is_err() {
                    return;
                }
                batch.clear();
            }
        });
        Ok(Self { send, shared })
    }

    /// Publishes and waits for the answer; one that tells of an error is an error.
    pub(super) async fn ask(&self, subject: &str, payload: &[u8]) -> Outcome<()> {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let mut bytes = format!("PUB {subject} inbox.{number} {}\r\n", payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        let (tell, told) = oneshot::channel();
        lock(&self.shared.waiting).insert(number, tell);
        self.send.send(bytes).map_err(|_| "nats has closed the connection")?;
        let answer = told.await.map_err(|_| "nats has closed the connection")?;
        let answer = String::from_utf8_lossy(&answer);
        if answer.contains("\"error\"") { Err(format!("nats refuses: {answer}").into()) } else { Ok(()) }
    }

    /// Takes what is pushed to a subject.
    pub(super) fn take(&self, subject: &str) -> Outcome<mpsc::UnboundedReceiver<Message>> {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (give, taken) = mpsc::unbounded_channel();
        lock(&self.shared.taking).insert(number, give);
        self.send.send(format!("SUB {subject} {number}\r\n").into_bytes())?;
        Ok(taken)
    }
}

/// Gives each answer to whoever waits for its number, each message to whoever takes it, and answers the server's pings.
async fn reader(
    mut read: BufReader<OwnedReadHalf>,
    shared: Arc<Shared>,
    send: mpsc::UnboundedSender<Vec<u8>>,
) -> Outcome<()> {
    let mut line = String::new();
    loop {
        line.clear();
        if read.read_line(&mut line).await? == 0 {
            lock(&shared.waiting).clear();
            lock(&shared.taking).clear();
            return Ok(());
        }
        // MSG inbox.7 1 42, or MSG in.3 5 $JS.ACK.… 256
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["MSG", subject, number, reply @ .., length] => {
                let length = length.parse::<usize>()?;
                let mut payload = vec![0; length + 2];
                read.read_exact(&mut payload).await?;
                payload.truncate(length);
                let number = number.parse::<u64>()?;
                if number == INBOX {
                    let asked = subject.strip_prefix("inbox.").unwrap_or_default().parse::<u64>()?;
                    let waiter = lock(&shared.waiting).remove(&asked);
                    waiter.and_then(|waiter| waiter.send(payload).err()).map(drop).unwrap_or_default();
                } else if let Some(taker) = lock(&shared.taking).get(&number) {
                    let reply = reply.first().copied().unwrap_or_default().to_owned();
                    // Whoever took has ended.
                    drop(taker.send(Message { reply, payload }));
                }
            }
            ["PING"] => send.send(b"PONG\r\n".to_vec())?,
            _ => {}
        }
    }
}
