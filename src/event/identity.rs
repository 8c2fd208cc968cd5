//! Ids that are derived, never drawn: the same cause gives the same id on every re-run.
//!
//! All digests are BLAKE3 cut to 128 bits, so that nobody can make two ids collide on purpose and have an
//! event swallowed as a duplicate. Every part is hashed with its length before it: `("ab", "c")` and
//! `("a", "bc")` differ.

use serde::{Deserialize, Serialize};

use super::Envelope;

/// Digest of `source` and `id`: the key under which duplicates are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity(pub [u8; 16]);

/// Digest of the body of an event: tells a repeat from another event under the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 16]);

impl Identity {
    /// The identity of the event `id` of `source`.
    pub fn of(source: &str, id: &str) -> Self {
        Self(digest(b"identity", &[source.as_bytes(), id.as_bytes()]))
    }
}

impl Fingerprint {
    /// The fingerprint of an event: name, key, subject, media type and data bytes.
    pub fn of(event: &Envelope) -> Self {
        let optional =
            |value: &Option<String>| value.as_ref().map_or(Vec::new(), |v| [b"=", v.as_bytes()].concat());
        Self(digest(
            b"body",
            &[
                event.name.as_str().as_bytes(),
                event.key.as_bytes(),
                &optional(&event.subject),
                event.content_type.as_deref().unwrap_or("application/json").as_bytes(),
                &event.data,
            ],
        ))
    }
}

/// Both digests of an event, so that they are made once, and by whoever makes the event: the one thread that
/// commits has better things to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digests {
    /// Of its source and id.
    pub identity: Identity,
    /// Of its body.
    pub fingerprint: Fingerprint,
}

impl Digests {
    /// The digests of an event.
    pub fn of(event: &Envelope) -> Self {
        Self { identity: event.identity(), fingerprint: event.fingerprint() }
    }
}

/// The flow id of an event that was published without a `correlationid`.
pub fn flow_of(source: &str, id: &str) -> String {
    hex(&digest(b"flow", &[source.as_bytes(), id.as_bytes()]))
}

/// The id of the `ordinal`-th event that the handling of `cause` by `subscription` emits.
///
/// `generation` counts replays: a deliberate replay emits new events, a re-run after a crash the same ones.
pub fn emitted_id(cause: &Envelope, subscription: &str, generation: u32, ordinal: u32) -> String {
    emitted_id_of((&cause.source, &cause.id), subscription, generation, ordinal)
}

/// The same, where only source and id of the cause are known.
pub fn emitted_id_of(cause: (&str, &str), subscription: &str, generation: u32, ordinal: u32) -> String {
    hex(&digest(
        b"emit",
        &[
            cause.0.as_bytes(),
            cause.1.as_bytes(),
            subscription.as_bytes(),
            &generation.to_be_bytes(),
            &ordinal.to_be_bytes(),
        ],
    ))
}

/// The id of the event that takes the place of `cause` in `subscription` after `attempts` attempts: a
/// delivery that dies again after a replay may be edited again.
pub fn edited_id(cause: &Envelope, subscription: &str, attempts: u32) -> String {
    hex(&digest(
        b"edit",
        &[cause.source.as_bytes(), cause.id.as_bytes(), subscription.as_bytes(), &attempts.to_be_bytes()],
    ))
}

/// The idempotency key of the effect `name` of the handling of `cause` by `subscription`: the same on every
/// attempt. A replay keeps it, since what it does outside must not be done a second time.
pub fn effect_key(cause: &Envelope, subscription: &str, name: &str) -> String {
    hex(&digest(
        b"effect",
        &[cause.source.as_bytes(), cause.id.as_bytes(), subscription.as_bytes(), name.as_bytes()],
    ))
}

/// The id of a fact of the bus's own.
pub(super) fn fact_id(parts: &[&[u8]]) -> String {
    hex(&digest(b"fact", parts))
}

/// Bytes that are digested at one go: BLAKE3 has a shorter way for one chunk of its own, a fifth less time for an event's
/// ids and body.
const AT_ONCE: usize = 1_024;

fn digest(domain: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let len = domain.len() + parts.iter().map(|part| 8 + part.len()).sum::<usize>();
    let mut room = [0; AT_ONCE];
    let whole = if let Some(bytes) = room.get_mut(..len) {
        let mut left = &mut *bytes;
        each_piece(domain, parts, |piece| {
            if let Some(place) = left.split_off_mut(..piece.len()) {
                place.copy_from_slice(piece);
            }
        });
        blake3::hash(bytes)
    } else {
        let mut hasher = blake3::Hasher::new();
        each_piece(domain, parts, |piece| {
            hasher.update(piece);
        });
        hasher.finalize()
    };
    let (halves, _) = whole.as_bytes().as_chunks::<16>();
    halves.first().copied().unwrap_or_default()
}

fn each_piece(domain: &[u8], parts: &[&[u8]], mut take: impl FnMut(&[u8])) {
    take(domain);
    for part in parts {
        take(&(part.len() as u64).to_be_bytes());
        take(part);
    }
}

/// Hexadecimal digits in lower case, two for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    // By hand: each publication needs some, and `{:02x}` for each byte was 8 % of a publisher's samples.
    let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' + half - 10 };
    let digits = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xF)]);
    String::from_utf8(digits.collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(Identity::of("ab", "c"), Identity::of("a", "bc"));
        assert_ne!(flow_of("/http", "o1"), flow_of("/http", "o2"));
    }

    #[test]
    fn the_format_of_derived_ids_never_changes() {
        // A changed digest would let an upgraded bus publish an event a second time: keep this figure.
        assert_eq!(flow_of("/http", "o1"), "33e18180604db4759d9ff997146bd662");
    }

    #[test]
    fn what_is_digested_at_one_go_is_what_is_digested_piece_by_piece() {
        for len in [0, 1, AT_ONCE - 12, AT_ONCE - 11, 3 * AT_ONCE] {
            let part = vec![7; len];
            let mut hasher = blake3::Hasher::new();
            hasher.update(b"body").update(&(len as u64).to_be_bytes()).update(&part);

            assert_eq!(digest(b"body", &[&part]), hasher.finalize().as_bytes()[..16], "{len}");
        }
    }
}
