//! Event names: dotted lower case, the CloudEvents `type`.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest event name accepted, in bytes. NATS subjects, CloudEvents `type` and file listings all bear it.
pub const NAME_MAX: usize = 200;

/// A checked event name such as `purchase.funds_checked`: tokens of `[a-z0-9_]`, separated by dots, the
/// first beginning with a letter. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventName(Arc<str>);

/// Why a text is no event name; the message says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event name {name:?} {problem}; write dotted lower case such as `payment.completed`")]
pub struct NameError {
    name: String,
    problem: &'static str,
}

impl EventName {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`NameError`] when it is empty, over [`NAME_MAX`] bytes, or has a token that is empty or holds
    /// anything but `[a-z0-9_]`.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let refuse = |problem| Err(NameError { name: name.chars().take(NAME_MAX).collect(), problem });
        if name.is_empty() {
            return refuse("is empty");
        }
        if name.len() > NAME_MAX {
            return refuse("is over 200 bytes");
        }
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return refuse("does not begin with a lower-case letter");
        }
        if name.split('.').any(str::is_empty) {
            return refuse("has an empty token");
        }
        if !name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.')) {
            return refuse("holds other characters than a-z, 0-9, `_` and `.`");
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name is one of the bus's own, under `tidegate.`, which nobody publishes from outside.
    pub fn is_reserved(&self) -> bool {
        &*self.0 == "tidegate" || self.0.starts_with("tidegate.")
    }
}

// By hand, since a name is written and read with each event, and serde's conversions make a `String` of it each time.
impl Serialize for EventName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EventName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl serde::de::Visitor<'_> for Text {
            type Value = EventName;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an event name")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<EventName, E> {
                EventName::new(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl std::fmt::Display for EventName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for EventName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dotted_lower_case() {
        for good in ["a", "purchase.funds_checked", "a1.b2_c", &"a".repeat(200)] {
            assert!(EventName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "a.", "a..b", "A.b", "a-b", "1a", "a b", "é", &"a".repeat(201)] {
            assert!(EventName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_the_bus_are_reserved() {
        assert!(EventName::new("tidegate.dead").is_ok_and(|n| n.is_reserved()));
        assert!(EventName::new("tidegates.dead").is_ok_and(|n| !n.is_reserved()));
    }
}
