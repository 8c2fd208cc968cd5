//! Rows that have grown: what an older version wrote ends before the part that it did not know.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use bytes::Bytes;

use super::View;
use super::keys::Key;
use crate::store::StoreError;

/// A row with a part that was added later. Serde skips the part in the row itself; it is written behind it,
/// and reads as its default where it is missing.
pub(super) trait Grown: Serialize + DeserializeOwned {
    /// The part.
    type More: Default + Serialize + for<'de> Deserialize<'de>;

    fn more(&self) -> &Self::More;

    fn more_mut(&mut self) -> &mut Self::More;

    /// Reads the part; one that has grown itself says how.
    fn read_more(&mut self, bytes: &[u8]) -> Result<(), postcard::Error> {
        *self.more_mut() = postcard::from_bytes(bytes)?;
        Ok(())
    }

    /// Writes the part behind `bytes`.
    fn write_more(&self, bytes: Vec<u8>) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_extend(self.more(), bytes)
    }
}

/// Reads a grown row.
pub(super) fn decode<T: Grown>(bytes: &[u8]) -> Result<T, postcard::Error> {
    let (mut row, rest) = postcard::take_from_bytes::<T>(bytes)?;
    if !rest.is_empty() {
        row.read_more(rest)?;
    }
    Ok(row)
}

/// Writes a grown row behind `bytes`.
pub(super) fn encode<T: Grown>(row: &T, bytes: Vec<u8>) -> Result<Vec<u8>, postcard::Error> {
    row.write_more(postcard::to_extend(row, bytes)?)
}

impl View {
    pub(super) fn get_grown<T: Grown>(&self, key: &Key) -> Result<Option<T>, StoreError> {
        let key = key.clone().bytes();
        self.rows.get(&key)?.map(|value| self.decode_grown(&key, &value)).transpose()
    }

    pub(super) fn decode_grown<T: Grown>(&self, key: &[u8], value: &[u8]) -> Result<T, StoreError> {
        decode(value).map_err(|error| self.damaged(key, &error))
    }

    pub(super) fn put_grown<T: Grown>(&mut self, key: Key, row: &T) -> Result<(), StoreError> {
        let key = key.bytes();
        let bytes = encode(row, Vec::new()).map_err(|error| self.damaged(&key, &error))?;
        self.rows.put(key, Bytes::from(bytes));
        Ok(())
    }
}
