//! Value: what stands under one key of a tree, with what sled lacks: a checksum, and a limit on its size.
//!
//! ```text
//! key          crc32c 4 | 0 | value                                     up to 40 KiB
//! key          crc32c 4 | 1 | parts 4 | crc32c 4 | first part 4         a longer one
//! 0xFE key n   crc32c 4 | part n                                        its parts
//! ```
//! A value over 48 KiB must never reach sled: nodes that grow too large become blob files, which it never syncs.

use std::ops::{Deref, Range};
use std::path::Path;

use ::sled::{IVec, Tree};

use super::base::{damaged, guard};
use crate::store::StoreError;

/// Bytes of a value, or of a part of one, that sled gets at most.
pub(super) const PART: usize = 40 << 10;
/// Key prefix of parts; no table begins with it.
pub(super) const PARTS: u8 = 0xFE;
const WHOLE: u8 = 0;
const SPLIT: u8 = 1;

/// A value as it was read.
pub(super) enum Body {
    /// In one piece, behind checksum and kind.
    Whole(IVec),
    /// Put together from its parts.
    Split(Vec<u8>),
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Whole(stored) => stored.get(5..).unwrap_or_default(),
            Self::Split(bytes) => bytes,
        }
    }
}

/// Writes or removes what stands under a key; returns whether there was something.
///
/// The parts of a longer value get numbers that the old one does not use, and the head goes last: a crash leaves the
/// old one or the new one.
pub(super) fn put(tree: &Tree, key: &[u8], value: Option<&[u8]>) -> Result<bool, ::sled::Error> {
    let old = match value {
        None => tree.remove(key)?,
        Some(value) if value.len() <= PART => tree.insert(key, sealed(key, &[&[WHOLE], value]))?,
        Some(value) => {
            let used = tree.get(key)?.as_deref().map_or(0..0, parts_of);
            let parts = u32::try_from(value.len().div_ceil(PART)).unwrap_or(u32::MAX);
            let from = if used.start >= parts { 0 } else { used.end };
            for (number, part) in (from..).zip(value.chunks(PART)) {
                let part_key = part_key(key, number);
                let sealed = sealed(&part_key, &[part]);
                tree.insert(part_key, sealed)?;
            }
            let whole = crc32c::crc32c(value);
            let numbers = [parts, whole, from].map(u32::to_be_bytes);
            tree.insert(key, sealed(key, &[&[SPLIT], numbers.as_flattened()]))?
        }
    };
    for part in old.as_deref().map_or(0..0, parts_of) {
        tree.remove(part_key(key, part))?;
    }
    Ok(old.is_some())
}

/// Opens what was read under a key; when a fold has written it anew meanwhile, reads again. `None` when it is gone.
pub(super) fn open(dir: &Path, tree: &Tree, key: &[u8], stored: IVec) -> Result<Option<Body>, StoreError> {
    let mut stored = stored;
    loop {
        match body(dir, tree, key, &stored) {
            Ok(body) => return Ok(Some(body)),
            Err(broken) => match guard(dir, || tree.get(key))? {
                Some(now) if now == stored => return Err(broken),
                Some(now) => stored = now,
                None => return Ok(None),
            },
        }
    }
}

fn body(dir: &Path, tree: &Tree, key: &[u8], stored: &IVec) -> Result<Body, StoreError> {
    let broken = || damaged(dir, format!("row {} does not match its checksum", key.escape_ascii()));
    let (kind, _) = unsealed(key, stored).and_then(<[u8]>::split_first).ok_or_else(broken)?;
    if *kind == WHOLE {
        return Ok(Body::Whole(stored.clone()));
    }
    let mut whole = Vec::new();
    for part in parts_of(stored) {
        let part_key = part_key(key, part);
        let part = guard(dir, || tree.get(&part_key))?;
        let part = part.as_deref().and_then(|part| unsealed(&part_key, part));
        whole.extend_from_slice(part.ok_or_else(broken)?);
    }
    // Format 1 has left no such sum.
    let check = stored.get(9..).and_then(<[u8]>::first_chunk).map(|check| u32::from_be_bytes(*check));
    if check.is_some_and(|check| check != crc32c::crc32c(&whole)) {
        return Err(broken());
    }
    Ok(Body::Split(whole))
}

/// Value with its checksum, which covers the key: a row that turns up under another one shows.
fn sealed(key: &[u8], value: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + value.iter().map(|piece| piece.len()).sum::<usize>());
    bytes.extend_from_slice(&[0; 4]);
    for piece in value {
        bytes.extend_from_slice(piece);
    }
    let check = checksum(key, bytes.get(4..).unwrap_or_default());
    if let Some(head) = bytes.first_chunk_mut::<4>() {
        *head = check.to_be_bytes();
    }
    bytes
}

fn unsealed<'a>(key: &[u8], stored: &'a [u8]) -> Option<&'a [u8]> {
    let (check, value) = stored.split_first_chunk::<4>()?;
    (u32::from_be_bytes(*check) == checksum(key, value)).then_some(value)
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), value)
}

fn part_key(key: &[u8], part: u32) -> Vec<u8> {
    [&[PARTS], key, &part.to_be_bytes()].concat()
}

/// The numbers of the parts of a stored value, none for one that is whole.
fn parts_of(stored: &[u8]) -> Range<u32> {
    let number = |at: usize| {
        let bytes = stored.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
    };
    let is_split = stored.get(4) == Some(&SPLIT);
    if is_split { number(13)..number(13).saturating_add(number(5)) } else { 0..0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_value_is_written_anew_beside_the_old_one() {
        let dir = tempfile::TempDir::new().unwrap();
        let db = ::sled::open(dir.path()).unwrap();
        let mut before = 0..0;
        for parts in [1_u32, 3, 2, 2, 5, 1, 1] {
            let value = vec![7; PART * usize::try_from(parts).unwrap() - 3 + usize::from(parts == 1) * 4];
            put(&db, &[0x30, 1], Some(&value)).unwrap();

            let stored = db.get([0x30, 1]).unwrap().unwrap();
            let now = parts_of(&stored);
            assert!(
                now.end <= before.start || now.start >= before.end,
                "a crash before the head finds {before:?} whole"
            );
            assert_eq!(&*open(dir.path(), &db, &[0x30, 1], stored).unwrap().unwrap(), value.as_slice());
            assert_eq!(db.len(), 1 + now.len(), "and nothing else is left");
            before = now;
        }
        put(&db, &[0x30, 1], Some(b"small")).unwrap();
        assert_eq!(db.len(), 1);
    }

    #[test]
    fn a_value_under_another_key_is_damage() {
        let dir = tempfile::TempDir::new().unwrap();
        let db = ::sled::open(dir.path()).unwrap();
        put(&db, b"a", Some(b"1")).unwrap();
        let stored = db.get("a").unwrap().unwrap();
        db.insert("b", &stored).unwrap();

        assert!(open(dir.path(), &db, b"b", stored).is_err());
    }
}
