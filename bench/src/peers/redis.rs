//! A small client of Redis: any number of callers share one connection, each waiting for its own reply.

use std::io;
use std::net::Ipv4Addr;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::resp::{Reply, command, reply};
use crate::Outcome;

/// Commands that are written at once.
const WRITTEN: usize = 1_024;

type Waiting = oneshot::Sender<Reply>;

/// A connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Redis(mpsc::UnboundedSender<Sent>);

/// One or more commands, and who waits for each reply: all but the last are thrown away.
#[derive(Debug)]
struct Sent {
    bytes: Vec<u8>,
    replies: usize,
    waiting: Waiting,
}

impl Redis {
    /// Connects to the server on this port of loopback.
    pub(crate) async fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let (send, sent) = mpsc::unbounded_channel();
        let (wait, waiting) = mpsc::unbounded_channel();
        tokio::spawn(writer(sent, wait, write));
        tokio::spawn(reader(waiting, read));
        Ok(Self(send))
    }

    /// Adds a payload to a stream: on disk when this returns, as the server is set.
    pub(crate) async fn add(&self, stream: &str, payload: &[u8]) -> Outcome<()> {
        self.ask(&[b"XADD", stream.as_bytes(), b"*", b"d", payload]).await.map(drop)
    }

    /// One command.
    pub(super) async fn ask(&self, parts: &[&[u8]]) -> Outcome<Reply> {
        let mut bytes = Vec::with_capacity(64 + parts.iter().map(|part| part.len() + 16).sum::<usize>());
        command(parts, &mut bytes);
        self.ask_all(bytes, 1).await
    }

    /// Several commands at once; the answer is that of the last one.
    pub(super) async fn ask_all(&self, bytes: Vec<u8>, replies: usize) -> Outcome<Reply> {
        let (waiting, told) = oneshot::channel();
        let gone = || "redis has closed the connection";
        self.0.send(Sent { bytes, replies, waiting }).map_err(|_| gone())?;
        let reply = told.await.map_err(|_| gone())?;
        match reply.refusal() {
            Some(refusal) => Err(format!("redis refuses: {refusal}").into()),
            None => Ok(reply),
        }
    }
}

async fn writer(
    mut sent: mpsc::UnboundedReceiver<Sent>,
    wait: mpsc::UnboundedSender<(usize, Waiting)>,
    mut write: OwnedWriteHalf,
) {
    let (mut batch, mut bytes) = (Vec::with_capacity(WRITTEN), Vec::new());
    while sent.recv_many(&mut batch, WRITTEN).await > 0 {
        bytes.clear();
        for one in batch.drain(..) {
            bytes.extend_from_slice(&one.bytes);
            if wait.send((one.replies, one.waiting)).is_err() {
                return;
            }
        }
        if write.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn reader(mut waiting: mpsc::UnboundedReceiver<(usize, Waiting)>, mut read: OwnedReadHalf) {
    let (mut buffer, mut current) = (BytesMut::with_capacity(256 * 1024), None);
    loop {
        buffer.reserve(64 * 1024);
        if !matches!(read.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
        let bytes: Bytes = buffer.split().freeze();
        let mut at = 0;
        while let Some((told, behind)) = reply(&bytes, at) {
            at = behind;
            let (left, waiter): (usize, Waiting) = match current.take() {
                Some(current) => current,
                None => match waiting.try_recv() {
                    Ok(next) => next,
                    Err(_) => return,
                },
            };
            if left > 1 {
                current = Some((left - 1, waiter));
            } else {
                // Whoever does not wait any more does not need it.
                drop(waiter.send(told));
            }
        }
        buffer.extend_from_slice(bytes.get(at..).unwrap_or_default());
    }
}
