//! Heads: the flows that are held decoded, by their texts. The text of a derived flow spells 16 bytes. Those are the key then:
//! they stand in the map itself, so that a look-up follows no pointer to a text.

use foldhash::{HashMap, HashMapExt as _};

use super::flow::FlowHead;
use super::flow_index::{FlowName, name_of};
use super::spelled::unhex;
use crate::event::Identity;

/// What the text of a flow is held as.
#[derive(Debug, Clone, Copy)]
pub(super) enum Text<'a> {
    /// The bytes that it spells.
    Derived([u8; 16]),
    Named(&'a str),
}

impl<'a> Text<'a> {
    pub(super) fn of(flow: &'a str) -> Self {
        unhex(flow.as_bytes()).map_or(Self::Named(flow), Self::Derived)
    }

    /// The name by which the index of flows has it.
    pub(super) fn name(self) -> FlowName {
        match self {
            Self::Derived(digest) => FlowName { is_hashed: false, digest: Identity(digest) },
            Self::Named(flow) => name_of(flow),
        }
    }

    /// Bytes that are held of it.
    pub(super) const fn len(self) -> usize {
        match self {
            Self::Derived(digest) => digest.len(),
            Self::Named(flow) => flow.len(),
        }
    }
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

    pub(super) fn get(&self, text: Text<'_>) -> Option<&Held> {
        match text {
            Text::Derived(digest) => self.derived.get(&digest),
            Text::Named(flow) => self.named.get(flow),
        }
    }

    pub(super) fn get_mut(&mut self, text: Text<'_>) -> Option<&mut Held> {
        match text {
            Text::Derived(digest) => self.derived.get_mut(&digest),
            Text::Named(flow) => self.named.get_mut(flow),
        }
    }

    /// Puts a flow in the place of what is held of it, which is returned.
    pub(super) fn insert(&mut self, text: Text<'_>, head: Held) -> Option<Held> {
        match text {
            Text::Derived(digest) => self.derived.insert(digest, head),
            Text::Named(flow) => match self.named.get_mut(flow) {
                Some(known) => Some(std::mem::replace(known, head)),
                None => self.named.insert(flow.to_owned(), head),
            },
        }
    }

    pub(super) fn remove(&mut self, text: Text<'_>) -> Option<Held> {
        match text {
            Text::Derived(digest) => self.derived.remove(&digest),
            Text::Named(flow) => self.named.remove(flow),
        }
    }

    /// Whether something is held of a flow, also that it is deleted.
    pub(super) fn has(&self, text: Text<'_>) -> bool {
        self.get(text).is_some()
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Text<'_>, &Held)> {
        let named = self.named.iter().map(|(flow, head)| (Text::Named(flow), head));
        self.derived.iter().map(|(digest, head)| (Text::Derived(*digest), head)).chain(named)
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
        for text in texts.iter().map(|text| Text::of(text)) {
            assert!(heads.insert(text, Some(Box::default())).is_none(), "{text:?}");
        }

        let mut names: Vec<FlowName> = heads.iter().map(|(text, _)| text.name()).collect();

        names.sort_unstable();
        let mut expected: Vec<FlowName> = texts.iter().map(|text| name_of(text)).collect();
        expected.sort_unstable();
        assert_eq!(names, expected);
        for text in texts.iter().map(|text| Text::of(text)) {
            assert!(heads.get_mut(text).is_some_and(|head| head.take().is_some()), "{text:?}");
            assert!(heads.get(text).is_some_and(Option::is_none) && heads.has(text), "{text:?}");
            assert!(heads.insert(text, None).is_some() && heads.remove(text).is_some(), "{text:?}");
            assert!(!heads.has(text), "{text:?}");
        }
    }
}
