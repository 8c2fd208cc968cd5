//! Frozen: what a checkpoint takes. What is held decoded becomes bytes here, by the thread that folds.

use std::path::Path;
use std::sync::Arc;

use super::dedupe::{KEPT, Seen};
use super::flow::FlowHead;
use super::heads;
use super::hot::Hot;
use super::index::{Chunk, List};
use super::{EventRow, View, grown, keys};
use crate::store::layer::Layer;
#[cfg(test)]
use crate::store::rows::Changed;
use crate::store::rows::{Base, Swept};
use crate::store::{Seq, StoreError};

/// What a checkpoint takes.
#[derive(Debug, Default)]
pub(in crate::store) struct Frozen {
    rows: Arc<Layer>,
    hot: Arc<Hot>,
    /// The last event of the checkpoint before: nothing beneath knows of a later one.
    before: Seq,
}

/// Gets a row: its key, its value, none where it is removed, and whether it stands for a later event than what is beneath,
/// which therefore has no such row.
pub(in crate::store) type VisitRow<'a> = dyn FnMut(&[u8], Option<&[u8]>, bool) -> Result<(), StoreError> + 'a;

/// A row that is not encoded yet; `None` where it is removed.
#[derive(Clone, Copy)]
enum Held<'a> {
    /// With its bucket.
    Id(u32, Option<&'a Seen>),
    Event(Option<&'a EventRow>),
    Flow(&'a FlowHead),
    /// With a flow that has come.
    First(Seq),
    Chunk(Option<&'a Chunk>),
}

impl Held<'_> {
    /// The event that it belongs to alone, under a key that no other one has had.
    fn event(self) -> Option<Seq> {
        match self {
            // One that is kept may have been kept before, for an event that has expired.
            Self::Id(bucket, seen) => seen.filter(|_| bucket != KEPT).map(|seen| seen.seq),
            Self::Event(row) => row.map(|row| row.record.seq),
            Self::Flow(head) => head.first_event(),
            Self::First(first) => Some(first),
            Self::Chunk(_) => None,
        }
    }

    /// Writes the row into `bytes`, over what is there; `false` when it is removed.
    fn encode(self, bytes: &mut Vec<u8>) -> Result<bool, postcard::Error> {
        bytes.clear();
        let room = std::mem::take(bytes);
        *bytes = match self {
            Self::Id(_, Some(seen)) => postcard::to_extend(seen, room)?,
            Self::Event(Some(row)) => grown::encode(row, room)?,
            Self::Flow(head) => grown::encode(head, room)?,
            Self::First(first) => postcard::to_extend(&first, room)?,
            Self::Chunk(Some(chunk)) => chunk.encode_behind(room)?,
            Self::Id(_, None) | Self::Event(None) | Self::Chunk(None) => room,
        };
        Ok(!matches!(self, Self::Id(_, None) | Self::Event(None) | Self::Chunk(None)))
    }
}

impl Frozen {
    /// Rows that a checkpoint has read from its file.
    pub(in crate::store) fn of_rows(rows: Arc<Layer>) -> Self {
        Self { rows, ..Self::default() }
    }

    /// Whether something of a flow is in it.
    pub(in crate::store) fn has_changed(&self, flow: &str) -> bool {
        self.hot.flows.has(heads::Text::of(flow))
    }

    /// All of it in the order of the keys. What was swept is looked for in `base`, which holds all that came before.
    ///
    /// # Errors
    /// What `visit` returns and `base` says, and [`StoreError::Io`], which names `dir`, for a row that has no bytes: never by
    /// design.
    pub(in crate::store) fn each(
        &self,
        dir: &Path,
        base: Option<&dyn Base>,
        visit: &mut VisitRow<'_>,
    ) -> Result<(), StoreError> {
        for table in 0..u8::MAX {
            let from = (dir, base);
            let done = match table {
                keys::DEDUPE => self.each_of(table, self.ids(), from, visit),
                keys::EVENT => self.each_of(table, self.events(), from, visit),
                keys::FLOW => self.each_of(table, self.flows(), from, visit),
                keys::FLOW_NAME => self.each_of(table, self.flow_names(), from, visit),
                keys::LISTED_OPEN => self.each_of(table, self.lists(), from, visit),
                _ => self.each_of(table, std::iter::empty(), from, visit),
            };
            done?;
        }
        Ok(())
    }

    /// Those of one table. Of two for one key the one that is held decoded counts.
    fn each_of<'a>(
        &self,
        table: u8,
        held: impl Iterator<Item = (Vec<u8>, Held<'a>)>,
        (dir, base): (&Path, Option<&dyn Base>),
        visit: &mut VisitRow<'_>,
    ) -> Result<(), StoreError> {
        let (from, end) = ([table], [table.saturating_add(1)]);
        let mut swept = Swept::within(&self.rows, base, &from, &end);
        let mut write = |key: &[u8], value: Option<&[u8]>, is_new| {
            while let Some(gone) = swept.next_before(Some(key))? {
                visit(&gone, None, false)?;
            }
            visit(key, value, is_new)
        };
        let mut rows = self.rows.range(&from, &end).peekable();
        let mut bytes = Vec::new();
        for (key, held) in held {
            while let Some((before, value)) = rows.next_if(|(before, _)| *before < key.as_slice()) {
                write(before, value.as_deref(), false)?;
            }
            // What stands under the same key was written before, or is removed: a flow of this name has expired meanwhile.
            let older = rows.next_if(|(same, _)| *same == key.as_slice());
            let is_there = held.encode(&mut bytes).map_err(|error| {
                StoreError::io("encode rows for", dir, &std::io::Error::other(error.to_string()))
            })?;
            let is_new = older.is_none() && held.event().is_some_and(|seq| seq > self.before);
            write(&key, is_there.then_some(&bytes), is_new)?;
        }
        rows.try_for_each(|(key, value)| write(key, value.as_deref(), false))?;
        while let Some(gone) = swept.next_before(None)? {
            visit(&gone, None, false)?;
        }
        Ok(())
    }

    fn ids(&self) -> impl Iterator<Item = (Vec<u8>, Held<'_>)> {
        let mut ids: Vec<_> = self.hot.ids.iter().map(|((bucket, id), seen)| (*bucket, *id, seen)).collect();
        ids.sort_unstable_by_key(|(bucket, id, _)| (*bucket, *id));
        ids.into_iter()
            .map(|(bucket, id, seen)| (keys::dedupe(bucket, id).bytes(), Held::Id(bucket, seen.as_ref())))
    }

    fn events(&self) -> impl Iterator<Item = (Vec<u8>, Held<'_>)> {
        let events = self.hot.events.iter();
        events.map(|(seq, row)| (keys::event(*seq).bytes(), Held::Event(row.as_deref())))
    }

    fn flows(&self) -> impl Iterator<Item = (Vec<u8>, Held<'_>)> {
        let mut heads: Vec<_> = self.heads().map(|(_, head)| (head.more.first, head)).collect();
        heads.sort_unstable_by_key(|(first, _)| *first);
        heads.into_iter().map(|(first, head)| (keys::flow(first).bytes(), Held::Flow(head)))
    }

    /// The names of those that have come.
    fn flow_names(&self) -> impl Iterator<Item = (Vec<u8>, Held<'_>)> {
        let new = self.heads().filter(|(_, head)| head.is_new);
        let named = |text: heads::Text<'_>, first| (keys::flow_stretch(first), text.name(), first);
        let mut names: Vec<_> = new.map(|(text, head)| named(text, head.more.first)).collect();
        names.sort_unstable_by_key(|(stretch, name, _)| (*stretch, *name));
        names
            .into_iter()
            .map(|(stretch, name, first)| (keys::flow_name(stretch, name).bytes(), Held::First(first)))
    }

    /// The flows that are there. One that has gone was removed where its rows stood; one that was lost, and is known by
    /// a later change of it only, has no place.
    fn heads(&self) -> impl Iterator<Item = (heads::Text<'_>, &FlowHead)> {
        let flows = self.hot.flows.iter().filter_map(|(text, head)| Some((text, head.as_deref()?)));
        flows.filter(|(_, head)| head.more.first != Seq(0))
    }

    fn lists(&self) -> impl Iterator<Item = (Vec<u8>, Held<'_>)> {
        let names = self.hot.names.iter().map(|(name, chunk)| (List::Name(name), chunk));
        let all = names.chain(self.hot.keys.iter().map(|(key, chunk)| (List::Key(key), chunk)));
        sorted(all.map(|(list, chunk)| (keys::listed_open(list).bytes(), Held::Chunk(chunk.as_ref()))))
    }

    /// All of it at once.
    #[cfg(test)]
    pub(in crate::store) fn rows(&self) -> Vec<Changed> {
        let mut all = Vec::new();
        let push = &mut |key: &[u8], value: Option<&[u8]>, _is_new| {
            all.push((key.to_vec(), value.map(bytes::Bytes::copy_from_slice)));
            Ok(())
        };
        self.each(Path::new("memory"), None, push).unwrap();
        all
    }
}

fn sorted<'a>(rows: impl Iterator<Item = (Vec<u8>, Held<'a>)>) -> impl Iterator<Item = (Vec<u8>, Held<'a>)> {
    let mut rows: Vec<_> = rows.collect();
    rows.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    rows.into_iter()
}

impl View {
    /// Writes what is held decoded as rows, then freezes the layer.
    pub(in crate::store) fn freeze(&mut self) -> Result<Arc<Frozen>, StoreError> {
        self.write_heads()?;
        self.closes = self.head.dedupe.numbers().next_back().unwrap_or_default();
        let room = self.hot.as_roomy();
        let hot = Arc::new(std::mem::replace(&mut self.hot, room));
        self.cooling = Some(Arc::clone(&hot));
        let before = std::mem::replace(&mut self.folded, Seq(self.head.seqs));
        self.beneath = before;
        Ok(Arc::new(Frozen { rows: self.rows.freeze(), hot, before }))
    }

    /// Forgets the frozen layer: what is under it holds it whole. Letting go of it takes a while, so that is left to
    /// the caller.
    pub(in crate::store) fn forget_frozen(&mut self) -> Frozen {
        let rows = self.rows.forget_frozen().unwrap_or_default();
        Frozen { rows, hot: self.cooling.take().unwrap_or_default(), ..Frozen::default() }
    }
}
