//! A client that asks the allocator for nothing, so that all that is counted is the server's.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::Outcome;

/// One kept connection.
pub(super) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    /// Connects.
    pub(super) fn open(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: vec![0; 16 * 1024] })
    }

    /// Sends a request and reads the whole answer, which must have this status.
    pub(super) fn ask(&mut self, request: &str, status: &str) -> Outcome<()> {
        self.stream.write_all(request.as_bytes())?;
        let mut end = 0;
        loop {
            let read = self.stream.read(self.read.get_mut(end..).unwrap_or_default())?;
            end += read;
            let answer = self.read.get(..end).unwrap_or_default();
            if is_whole(answer) {
                break;
            }
            if read == 0 {
                return Err("the server closed the connection in the middle of an answer".into());
            }
        }
        let answer = self.read.get(..end).unwrap_or_default();
        if answer.get(9..12) == Some(status.as_bytes()) {
            return Ok(());
        }
        Err(format!("another answer was expected: {}", String::from_utf8_lossy(answer)).into())
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = memchr::memmem::find(answer, b"\r\n\r\n") else { return false };
    let digits = memchr::memmem::find(answer, b"content-length: ").and_then(|at| answer.get(at + 16..));
    let digits = digits.unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit());
    answer.len() >= head + 4 + digits.fold(0, |sum, byte| sum * 10 + usize::from(byte - b'0'))
}
