//! Heads: the flows that are held decoded, by their texts. The text of a derived flow spells 16 bytes. Those are the key then:
//! they stand in the map itself, so that a look-up follows no pointer to a text.

use foldhash::{HashMap, HashMapExt as _};

use super::flow::FlowHead;
use super::flow_index::{FlowName, name_of};
use super::spelled::unhex;
use crate::event::Identity;

/// Digits of a derived flow.
const DIGITS: usize = 32;

/// What a text of this length costs as a key, about: a derived one spells half as many bytes.
pub(super) const fn key_len(text: usize) -> usize {
    if text == DIGITS { DIGITS / 2 } else { text }
}

/// A flow that is held decoded; `None` where it is deleted.
pub(super) type Held = Option<Box<FlowHead>>;

/// Flows by their texts.
#[derive(Debug, Default)]
pub(super) struct Heads {
    derived: HashMap<[u8; 16], Held>,
    named: HashMap<String, Held>,
}

impl Heads {
    /// An empty one that can hold as much without growing on the way.
    pub(super) fn as_roomy(&self) -> Self {
        Self {
            derived: HashMap::with_capacity(self.derived.len()),
            named: HashMap::with_capacity(self.named.len()),
        }
    }

    pub(super) fn get(&self, flow: &str) -> Option<&Held> {
        match unhex(flow.as_bytes()) {
            Some(digest) => self.derived.get(&digest),
            None => self.named.get(flow),
        }
    }

    pub(super) fn get_mut(&mut self, flow: &str) -> Option<&mut Held> {
        match unhex(flow.as_bytes()) {
            Some(digest) => self.derived.get_mut(&digest),
            None => self.named.get_mut(flow),
        }
    }

    /// Puts a flow in the place of what is held of it, which is returned.
    pub(super) fn insert(&mut self, flow: &str, head: Held) -> Option<Held> {
        match unhex(flow.as_bytes()) {
            Some(digest) => self.derived.insert(digest, head),
            None => match self.named.get_mut(flow) {
                Some(known) => Some(std::mem::replace(known, head)),
                None => self.named.insert(flow.to_owned(), head),
            },
        }
    }

    pub(super) fn remove(&mut self, flow: &str) -> Option<Held> {
        match unhex(flow.as_bytes()) {
            Some(digest) => self.derived.remove(&digest),
            None => self.named.remove(flow),
        }
    }

    /// Whether something is held of a flow, also that it is deleted.
    pub(super) fn has(&self, flow: &str) -> bool {
        self.get(flow).is_some()
    }

    /// All of them, each with the name it is found by.
    pub(super) fn iter(&self) -> impl Iterator<Item = (FlowName, &Held)> {
        let name = |digest: &[u8; 16]| FlowName { is_hashed: false, digest: Identity(*digest) };
        let named = self.named.iter().map(|(flow, head)| (name_of(flow), head));
        self.derived.iter().map(move |(digest, head)| (name(digest), head)).chain(named)
    }

    /// All of them, with the lengths of their texts.
    #[cfg(test)]
    pub(super) fn lens(&self) -> impl Iterator<Item = (usize, &Held)> {
        let named = self.named.iter().map(|(flow, head)| (flow.len(), head));
        self.derived.values().map(|head| (DIGITS, head)).chain(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_held_by_their_texts_whatever_these_spell() {
        let spelled = "00112233445566778899aabbccddeeff";
        let texts = [spelled.to_owned(), spelled.to_uppercase(), "a".to_owned(), String::new()];
        let mut heads = Heads::default();
        for text in &texts {
            assert!(heads.insert(text, Some(Box::default())).is_none(), "{text}");
        }

        let mut names: Vec<FlowName> = heads.iter().map(|(name, _)| name).collect();

        names.sort_unstable();
        let mut expected: Vec<FlowName> = texts.iter().map(|text| name_of(text)).collect();
        expected.sort_unstable();
        assert_eq!(names, expected);
        for text in &texts {
            assert!(heads.get_mut(text).is_some_and(|head| head.take().is_some()), "{text}");
            assert!(heads.get(text).is_some_and(Option::is_none) && heads.has(text), "{text}");
            assert!(heads.insert(text, None).is_some() && heads.remove(text).is_some(), "{text}");
            assert!(!heads.has(text), "{text}");
        }
    }
}
