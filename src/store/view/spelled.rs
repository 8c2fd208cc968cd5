//! Spelled: texts that spell 16 bytes in hexadecimal digits, as ids that are derived or drawn do, stand in rows as those
//! bytes: half of their length, where nothing else about them can be packed.
//!
//! ```text
//! 17 | 0xFF | 16 bytes     32 digits                        no text begins with either byte
//! 17 | 0xFE | 16 bytes     8-4-4-4-12 digits
//! length | text            any other
//! ```

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::hex;

const DIGITS: u8 = 0xFF;
const DASHED: u8 = 0xFE;
/// Digits between dashes.
const PARTS: [usize; 5] = [8, 4, 4, 4, 12];

/// A text as a row has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spelled<'a>(pub(super) &'a str);

/// The same, as it is read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spelling(pub(super) String);

/// The bytes of 32 hexadecimal digits as they are derived, in lower case: no other text has them.
pub(super) fn unhex(digits: &[u8]) -> Option<[u8; 16]> {
    let digits: &[u8; 32] = digits.try_into().ok()?;
    let (pairs, _) = digits.as_chunks::<2>();
    let (mut bytes, mut seen) = ([0; 16], 0);
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (digit(*high), digit(*low));
        seen |= high | low;
        *byte = high << 4 | low & 0xF;
    }
    // Looked at once and not for each of them: every new flow is looked up by it.
    (seen <= 0xF).then_some(bytes)
}

/// The value of a hexadecimal digit as it is derived, in lower case; over 15 for anything else.
const fn digit(at: u8) -> u8 {
    match at {
        b'0'..=b'9' => at - b'0',
        b'a'..=b'f' => at - b'a' + 10,
        _ => 0x80,
    }
}

/// The digits of a text that has dashes where they belong.
fn undashed(text: &[u8; 36]) -> Option<[u8; 32]> {
    let (mut digits, mut text) = ([0; 32], text.as_slice());
    let mut room = digits.as_mut_slice();
    for part in PARTS {
        let (own, rest) = text.split_at_checked(part)?;
        room.split_off_mut(..part)?.copy_from_slice(own);
        text = match rest {
            [b'-', rest @ ..] => rest,
            [] => rest,
            _ => return None,
        };
    }
    Some(digits)
}

fn dashed(bytes: &[u8]) -> Option<String> {
    let id = uuid::Uuid::from_slice(bytes).ok()?;
    Some(id.hyphenated().encode_lower(&mut [0; 36]).to_owned())
}

impl Spelled<'_> {
    /// The bytes that it spells, behind the byte that says how.
    fn bytes(self) -> Option<[u8; 17]> {
        let text = self.0.as_bytes();
        let (how, bytes) = match text.len() {
            32 => (DIGITS, unhex(text)?),
            36 => (DASHED, unhex(&undashed(text.try_into().ok()?)?)?),
            _ => return None,
        };
        let mut all = [how; 17];
        all.last_chunk_mut::<16>()?.copy_from_slice(&bytes);
        Some(all)
    }
}

impl Serialize for Spelled<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.bytes() {
            Some(bytes) => serializer.serialize_bytes(&bytes),
            None => serializer.serialize_bytes(self.0.as_bytes()),
        }
    }
}

impl<'de> Deserialize<'de> for Spelling {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Reader)
    }
}

struct Reader;

impl Visitor<'_> for Reader {
    type Value = Spelling;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text, or 16 bytes that it spells")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Spelling, E> {
        let text = match bytes.split_first() {
            Some((&DIGITS, digits)) if digits.len() == 16 => hex(digits),
            Some((&DASHED, digits)) if let Some(text) = dashed(digits) => text,
            _ => std::str::from_utf8(bytes).map_err(|_| E::custom("a text is not UTF-8"))?.to_owned(),
        };
        Ok(Spelling(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Vec<u8> {
        let written = postcard::to_stdvec(&Spelled(text)).unwrap();
        assert_eq!(postcard::from_bytes::<Spelling>(&written).unwrap().0, text);
        written
    }

    #[test]
    fn the_bytes_of_a_spelled_text_never_change() {
        let spelled = [0, 17, 34, 51, 68, 85, 102, 119, 136, 153, 170, 187, 204, 221, 238, 255];

        assert_eq!(written("00112233445566778899aabbccddeeff"), [&[17, 0xFF], &spelled[..]].concat());
        assert_eq!(written("00112233-4455-6677-8899-aabbccddeeff"), [&[17, 0xFE], &spelled[..]].concat());
    }

    #[test]
    fn any_other_text_stands_as_it_is() {
        for text in [
            "",
            "order-17",
            "00112233445566778899aabbccddeefF",
            "00112233445566778899aabbccddeefg",
            "00112233445566778899aabbccddeef",
            "00112233-4455-6677-8899-aabbccddeefF",
            "001122334-455-6677-8899-aabbccddeeff",
            "00112233-4455-6677-8899-aabbccddee-f",
            "00112233-4455-6677-8899 aabbccddeeff",
            "ÿ0112233445566778899aabbccddee",
        ] {
            assert_eq!(written(text), postcard::to_stdvec(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert!(postcard::from_bytes::<Spelling>(&[2, 0xFF, 1]).is_err());
        assert!(postcard::from_bytes::<Spelling>(&[3, b'a', 0xFE, b'b']).is_err());
    }
}
