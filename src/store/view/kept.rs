//! Shelves: records of the bus's own, which the store keeps and does not look into.

use bytes::Bytes;

use super::{Effects, View, keys};
use crate::store::{Shelf, StoreError};

/// The longest name of a record in bytes.
const NAME_MAX: usize = 1_024;

/// Whether a record is within its bounds.
pub(super) fn fits(name: &str, value: Option<&Bytes>) -> bool {
    name.len() <= NAME_MAX && value.is_none_or(|value| value.len() <= Shelf::VALUE_MAX)
}

impl View {
    pub(super) fn apply_keep(&mut self, shelf: Shelf, name: &str, value: Option<&Bytes>) -> Effects {
        let key = keys::kept(shelf, name).bytes();
        match value {
            Some(value) => self.rows.put(key, value.clone()),
            None => self.rows.delete(key),
        }
        Effects::default()
    }

    /// Up to `limit` records whose names begin with `prefix`, after `after`, by name.
    pub(in crate::store) fn kept(
        &self,
        shelf: Shelf,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let all = keys::kept(shelf, prefix);
        let start = after.map(|name| [keys::kept(shelf, name).bytes().as_slice(), &[0]].concat());
        let from = start.unwrap_or_default().max(all.clone().bytes());
        let rows = self.rows.scan(&from, &all.end(), limit)?;
        Ok(rows.into_iter().filter_map(|(key, value)| Some((keys::kept_name(&key)?, value))).collect())
    }

    /// One record.
    pub(in crate::store) fn kept_one(&self, shelf: Shelf, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.rows.get(&keys::kept(shelf, name).bytes())
    }
}
