//! The wire format of Redis: commands out, replies in.

use bytes::Bytes;

/// A command as Redis reads it.
pub(super) fn command(parts: &[&[u8]], into: &mut Vec<u8>) {
    into.extend(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        into.extend(format!("${}\r\n", part.len()).as_bytes());
        into.extend_from_slice(part);
        into.extend_from_slice(b"\r\n");
    }
}

/// What Redis answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// A word, a number, or a text.
    Text(Bytes),
    /// Nothing.
    Nil,
    /// It refuses.
    Error(String),
    /// Several replies.
    List(Vec<Reply>),
}

impl Reply {
    /// The replies of a list; none of anything else.
    pub(super) fn list(&self) -> &[Reply] {
        if let Self::List(list) = self { list } else { &[] }
    }

    /// The text; empty of anything else.
    pub(super) fn text(&self) -> &[u8] {
        if let Self::Text(text) = self { text } else { &[] }
    }

    /// The first refusal in it.
    pub(super) fn refusal(&self) -> Option<&str> {
        match self {
            Self::Error(error) => Some(error),
            Self::List(list) => list.iter().find_map(Self::refusal),
            Self::Text(_) | Self::Nil => None,
        }
    }
}

/// The first reply in `bytes` and its length, once all of it is there.
pub(super) fn reply(bytes: &Bytes, at: usize) -> Option<(Reply, usize)> {
    let rest = bytes.get(at..)?;
    let end = memchr::memchr(b'\r', rest).filter(|end| rest.len() > end + 1)?;
    let line = rest.get(1..end)?;
    let body = at + end + 2;
    let number = || std::str::from_utf8(line).ok()?.parse::<i64>().ok();
    match rest.first()? {
        b'-' => Some((Reply::Error(String::from_utf8_lossy(line).into_owned()), body)),
        b'$' => {
            let Ok(length) = usize::try_from(number()?) else { return Some((Reply::Nil, body)) };
            let is_there = bytes.len() >= body + length + 2;
            is_there.then(|| (Reply::Text(bytes.slice(body..body + length)), body + length + 2))
        }
        b'*' => {
            let Ok(count) = usize::try_from(number()?) else { return Some((Reply::Nil, body)) };
            let (mut list, mut next) = (Vec::with_capacity(count.min(1024)), body);
            for _ in 0..count {
                let (one, behind) = reply(bytes, next)?;
                list.push(one);
                next = behind;
            }
            Some((Reply::List(list), next))
        }
        _ => Some((Reply::Text(bytes.slice(at + 1..at + end)), body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> Reply {
        Reply::Text(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_reply_is_read_once_all_of_it_is_there() {
        let whole = Bytes::from_static(b"*3\r\n$3\r\nfoo\r\n:12\r\n*1\r\n$-1\r\n+OK\r\n");
        let list = Reply::List(vec![text("foo"), text("12"), Reply::List(vec![Reply::Nil])]);

        assert_eq!(reply(&whole, 0), Some((list, whole.len() - 5)));
        assert_eq!(reply(&whole, whole.len() - 5), Some((text("OK"), whole.len())));
        for cut in 0..whole.len() - 5 {
            assert_eq!(reply(&whole.slice(..cut), 0), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_refusal_is_found_in_a_list() {
        let answer = Bytes::from_static(b"*2\r\n+OK\r\n-ERR no\r\n");

        assert_eq!(reply(&answer, 0).unwrap().0.refusal(), Some("ERR no"));
    }
}
