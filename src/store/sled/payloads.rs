//! Payloads: events are read from the journal, recent ones from memory.
//!
//! Where an event is stands in rows of [`CHUNK`] places; the unfinished chunk is held decoded. What is not
//! yet synced can only be read from memory, so the cache never drops it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::store::journal::{JournalReader, Location};
use crate::store::view::{Entry, Payloads, Place, Stored, View, keys};
use crate::store::{Seq, StoreError};

/// Places in a row.
const CHUNK: u64 = 64;
/// Bytes of recent events in memory.
const RECENT_BYTES: usize = 16 << 20;
/// What an event costs beside its data.
const EVENT_BYTES: usize = 512;
/// Rows deleted at once when a segment has gone.
const FORGET_ROWS: usize = 1_000;

/// Finds events in memory or in the journal.
#[derive(Debug)]
pub(super) struct JournalPayloads {
    recent: Mutex<Recent>,
    reader: JournalReader,
}

#[derive(Debug, Default)]
struct Recent {
    events: BTreeMap<Seq, Stored>,
    bytes: usize,
    open: OpenChunk,
    /// The oldest segment that is still there.
    first_segment: u64,
    /// No event before this one is there.
    first_known: Seq,
}

impl Recent {
    fn drop_before(&mut self, first: Seq) {
        while self.drop_oldest(|oldest| oldest < first) {}
    }

    /// Drops the oldest event if it is one of those; returns whether it was.
    fn drop_oldest(&mut self, may_go: impl FnOnce(Seq) -> bool) -> bool {
        let Some(oldest) = self.events.first_entry().filter(|oldest| may_go(*oldest.key())) else {
            return false;
        };
        let gone = weight(&oldest.remove());
        self.bytes = self.bytes.saturating_sub(gone);
        true
    }
}

/// The places of the newest events, held decoded until their row is full.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenChunk {
    /// The event it begins with.
    first: u64,
    places: Vec<Location>,
}

impl OpenChunk {
    /// The unfinished chunk as the rows have it.
    pub(super) fn load(view: &View) -> Result<Self, StoreError> {
        let next = view.events_stored() + 1;
        Ok(Self { first: first_of(next), places: chunk_of(view, first_of(next))? })
    }

    /// Notes where an event is. They come in order.
    pub(super) fn locate(&mut self, view: &mut View, seq: Seq, at: Location) -> Result<(), StoreError> {
        if self.first != first_of(seq.0) {
            self.first = first_of(seq.0);
            self.places.clear();
        }
        self.places.push(at);
        if self.places.len() as u64 == CHUNK { self.write(view) } else { Ok(()) }
    }

    /// Writes it as a row, before the rows are frozen.
    pub(super) fn write(&self, view: &mut View) -> Result<(), StoreError> {
        if self.places.is_empty() {
            return Ok(());
        }
        let key = keys::place(Seq(self.first)).bytes();
        let bytes = view.encode_row(&key, &self.places)?;
        view.rows_mut().put(key, Bytes::from(bytes));
        Ok(())
    }
}

impl JournalPayloads {
    /// Nothing in memory but the unfinished chunk.
    pub(super) fn new(open: OpenChunk, reader: JournalReader, first_segment: u64) -> Self {
        Self { recent: Mutex::new(Recent { open, first_segment, ..Recent::default() }), reader }
    }

    /// Keeps the events of new entries in memory.
    pub(super) fn keep(&self, entries: &[Entry]) {
        let mut recent = self.lock();
        for entry in entries {
            if let Entry::Event(entry) = entry {
                let stored = entry.stored();
                recent.bytes += weight(&stored);
                recent.events.insert(entry.rest.seq, stored);
            }
        }
    }

    /// Notes where an event is. They come in order.
    pub(super) fn locate(&self, view: &mut View, seq: Seq, at: Location) -> Result<(), StoreError> {
        self.lock().open.locate(view, seq, at)
    }

    /// Writes the unfinished chunk as a row, before the rows are frozen.
    pub(super) fn write_open(&self, view: &mut View) -> Result<(), StoreError> {
        self.lock().open.write(view)
    }

    /// Takes the places of the newest events as they were read anew.
    pub(super) fn set_open(&self, open: OpenChunk) {
        self.lock().open = open;
    }

    /// Everything up to `seq` can be read from the journal now; drops the oldest beyond the bound.
    pub(super) fn mark_synced(&self, seq: Seq) {
        let mut recent = self.lock();
        while recent.bytes > RECENT_BYTES && recent.drop_oldest(|oldest| oldest <= seq) {}
    }

    /// The segments before this one have gone.
    pub(super) fn set_first_segment(&self, first: u64) {
        self.lock().first_segment = first;
    }

    /// Deletes what is still known of events whose segment has gone.
    pub(super) fn forget_places(&self, view: &mut View) -> Result<(), StoreError> {
        let first = self.first(view)?;
        let end = keys::place(Seq(first_of(first.0.max(1)))).bytes();
        loop {
            let gone = view.rows().scan(&keys::places().bytes(), &end, FORGET_ROWS)?;
            if gone.is_empty() {
                break;
            }
            for (key, _) in gone {
                view.rows_mut().delete(key);
            }
        }
        self.lock().drop_before(first);
        Ok(())
    }

    /// Tells the segments that hold events, as far as they are known; neighbours one after the other.
    pub(super) fn segments<'a>(
        &self,
        view: &'a View,
    ) -> impl FnMut(Seq) -> Result<Option<u64>, StoreError> + use<'a> {
        let mut finder = Finder::new(view, self.lock().open.clone());
        move |seq| Ok(finder.find(seq)?.map(|at| at.segment))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Payloads for JournalPayloads {
    fn places(&self, view: &View, seqs: &[Seq]) -> Result<Vec<Option<Place>>, StoreError> {
        let (recent, open, first_segment) = {
            let recent = self.lock();
            let events: Vec<_> = seqs.iter().map(|seq| recent.events.get(seq).cloned()).collect();
            (events, recent.open.clone(), recent.first_segment)
        };
        let mut finder = Finder::new(view, open);
        let mut places = Vec::with_capacity(seqs.len());
        for (seq, recent) in seqs.iter().zip(recent) {
            places.push(match recent {
                Some(stored) => Some(Place::Here(stored)),
                None => finder.find(*seq)?.filter(|at| at.segment >= first_segment).map(Place::File),
            });
        }
        Ok(places)
    }

    fn fetch(&self, places: Vec<(Seq, Place)>) -> Result<Vec<Stored>, StoreError> {
        let locations: Vec<Location> = places
            .iter()
            .filter_map(|(_, place)| match place {
                Place::Here(_) => None,
                Place::File(at) => Some(*at),
            })
            .collect();
        let mut read = self.reader.read_many(&locations)?.into_iter().zip(locations);
        let mut stored = Vec::with_capacity(places.len());
        for (seq, place) in places {
            match place {
                Place::Here(event) => stored.push(event),
                Place::File(_) => {
                    stored.extend(read.next().map(|(bytes, at)| decode(seq, &bytes, at)).transpose()?);
                }
            }
        }
        Ok(stored)
    }

    fn first(&self, view: &View) -> Result<Seq, StoreError> {
        let all = keys::places();
        let (first_segment, mut from) = {
            let recent = self.lock();
            (recent.first_segment, keys::place(Seq(first_of(recent.first_known.0))).bytes())
        };
        while let Some((key, value)) = view.rows().scan(&from, &all.end(), 1)?.pop() {
            let chunk: Vec<Location> = view.decode_row(&key, &value)?;
            let index = chunk.iter().position(|at| at.segment >= first_segment);
            if let (Some(index), Some(first)) = (index, keys::last_u64(&key)) {
                let first = Seq(first + index as u64);
                self.lock().first_known = first;
                return Ok(first);
            }
            from = [key.as_slice(), &[0]].concat();
        }
        let recent = self.lock();
        let open = &recent.open;
        let index =
            open.places.iter().position(|at| at.segment >= first_segment).unwrap_or(open.places.len());
        Ok(Seq(open.first + index as u64))
    }
}

fn decode(seq: Seq, bytes: &[u8], at: Location) -> Result<Stored, StoreError> {
    Entry::decode_event(bytes).map_err(|error| StoreError::Damaged {
        path: format!("journal/{:020}.journal", at.segment).into(),
        offset: at.offset,
        problem: format!("event {} cannot be decoded ({error})", seq.0),
        remedy: "restore a backup".to_owned(),
    })
}

/// Finds places row by row: neighbours stand in one.
struct Finder<'a> {
    view: &'a View,
    open: OpenChunk,
    last: OpenChunk,
}

impl<'a> Finder<'a> {
    fn new(view: &'a View, open: OpenChunk) -> Self {
        Self { view, open, last: OpenChunk::default() }
    }

    fn find(&mut self, seq: Seq) -> Result<Option<Location>, StoreError> {
        let first = first_of(seq.0);
        if first >= self.open.first {
            return Ok(at(&self.open.places, seq.0.wrapping_sub(self.open.first)));
        }
        if self.last.first != first {
            self.last = OpenChunk { first, places: chunk_of(self.view, first)? };
        }
        Ok(at(&self.last.places, seq.0.wrapping_sub(first)))
    }
}

pub(super) fn chunk_of(view: &View, first: u64) -> Result<Vec<Location>, StoreError> {
    let key = keys::place(Seq(first)).bytes();
    view.rows().get(&key)?.map_or(Ok(Vec::new()), |value| view.decode_row(&key, &value))
}

/// The first event of the chunk of `seq`.
pub(super) const fn first_of(seq: u64) -> u64 {
    seq.saturating_sub(1) / CHUNK * CHUNK + 1
}

fn at(chunk: &[Location], index: u64) -> Option<Location> {
    usize::try_from(index).ok().and_then(|index| chunk.get(index)).copied()
}

fn weight(stored: &Stored) -> usize {
    stored.event.data.len() + EVENT_BYTES
}
