//! The states of a subscription's keys, as far as they are in memory.
//!
//! Only this subscription writes them, so a state that was read or written once stays right. A state whose
//! settle is not on disk yet is pinned: the store does not have it. The others are dropped together when
//! they take too much room.

use std::sync::Arc;

use bytes::Bytes;
use foldhash::HashMap;

/// Most bytes of states kept for keys that nothing is written for.
const KEPT_BYTES: usize = 8 * 1024 * 1024;

/// What is known of a key's state without asking the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing: the store has to be asked.
    Unread,
    /// This is it; `None` when the key has no state yet.
    Read(Option<Bytes>),
}

#[derive(Debug, Default)]
pub(crate) struct States {
    kept: HashMap<Arc<str>, Kept>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    state: Option<Bytes>,
    unsynced: u32,
}

impl States {
    /// The state of `key`, as far as it is known.
    pub(crate) fn get(&self, key: &str) -> Known {
        self.kept.get(key).map_or(Known::Unread, |kept| Known::Read(kept.state.clone()))
    }

    /// Keeps what was read from the store, unless something newer is known.
    pub(crate) fn loaded(&mut self, key: &Arc<str>, state: Option<Bytes>) {
        if !self.kept.contains_key(key) {
            self.make_room();
            self.bytes += size(key, state.as_ref());
            self.kept.insert(Arc::clone(key), Kept { state, unsynced: 0 });
        }
    }

    /// Keeps what a step wrote; it is pinned until [`States::synced`].
    pub(crate) fn written(&mut self, key: &Arc<str>, state: Bytes) {
        let kept = self.kept.entry(Arc::clone(key)).or_insert_with(|| {
            self.bytes += size(key, None);
            Kept { state: None, unsynced: 0 }
        });
        self.bytes = (self.bytes + state.len()).saturating_sub(kept.state.as_ref().map_or(0, Bytes::len));
        kept.state = Some(state);
        kept.unsynced += 1;
    }

    /// A write of `key` is on disk.
    pub(crate) fn synced(&mut self, key: &str) {
        if let Some(kept) = self.kept.get_mut(key) {
            kept.unsynced = kept.unsynced.saturating_sub(1);
        }
        self.make_room();
    }

    fn make_room(&mut self) {
        if self.bytes > KEPT_BYTES {
            self.kept.retain(|_, kept| kept.unsynced > 0);
            self.bytes = self.kept.iter().map(|(key, kept)| size(key, kept.state.as_ref())).sum();
        }
    }
}

fn size(key: &str, state: Option<&Bytes>) -> usize {
    key.len() + state.map_or(0, Bytes::len) + 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_is_not_on_disk_yet_is_never_dropped() {
        let mut states = States::default();
        states.written(&"pinned".into(), Bytes::from_static(b"1"));

        for n in 0..3 {
            states.loaded(&format!("big{n}").into(), Some(Bytes::from(vec![0; KEPT_BYTES])));
        }

        assert_eq!(states.get("pinned"), Known::Read(Some(Bytes::from_static(b"1"))));
        assert_eq!(states.get("big0"), Known::Unread, "what the store has is dropped for room");
        states.synced("pinned");
        states.loaded(&"another".into(), None);
        assert_eq!(states.get("pinned"), Known::Unread);
    }

    #[test]
    fn what_was_written_wins_over_what_was_read_before() {
        let mut states = States::default();
        states.written(&"a".into(), Bytes::from_static(b"new"));

        states.loaded(&"a".into(), Some(Bytes::from_static(b"old")));

        assert_eq!(states.get("a"), Known::Read(Some(Bytes::from_static(b"new"))));
    }
}
