//! Export: what is told of a store beside what readers ask.

use bytes::Bytes;

use super::{View, keys};
use crate::event::Timestamp;
use crate::store::{Seq, StoreError, SubscriptionId};

/// A state with its row's key and, as far as the row has it, the key of the step.
pub(in crate::store) type KeyedState = (Vec<u8>, String, Bytes);

impl View {
    /// When a delayed event is due; `None` when it is not delayed.
    pub(in crate::store) fn due_of(&self, seq: Seq) -> Result<Option<Timestamp>, StoreError> {
        let Some(due) = self.event_row(seq)?.and_then(|row| row.due) else { return Ok(None) };
        let is_delayed = self.rows.get(&keys::delayed(due.0, seq).bytes())?.is_some();
        Ok(is_delayed.then_some(due))
    }

    /// Up to `limit` states of a subscription behind the row `after`. A key of over 240 bytes stands in its row as its
    /// digest, and is told as that.
    pub(in crate::store) fn states_of(
        &self,
        id: SubscriptionId,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<KeyedState>, StoreError> {
        let all = keys::states(id);
        let from = after.map_or_else(|| all.clone().bytes(), |after| [after, &[0]].concat());
        let rows = self.rows.scan(&from, &all.end(), limit)?;
        Ok(rows.into_iter().map(|(key, state)| (key.clone(), step_key(&key), state)).collect())
    }
}

fn step_key(row: &[u8]) -> String {
    let text = row.get(5..).unwrap_or_default();
    match text.split_first_chunk::<2>() {
        Some(([0xFF, 0xFF], digest)) => {
            digest.iter().fold("blake3:".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
        }
        Some((_, text)) => String::from_utf8_lossy(text).into_owned(),
        None => String::new(),
    }
}
