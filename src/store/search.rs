//! Search: looking for events and flows in slices, so that nobody waits long for the view.
//!
//! A slice holds the view's lock for some hundred rows. Between two slices the writer has its turn, and
//! after a bounded number of them the call ends with a place to go on from.

use super::reader::Shared;
use super::view::{Payloads, Source, View};
use super::{EventQuery, FlowQuery, Found, FoundEvent, FoundFlow, Seq, StoreError};

/// Rows looked at under one lock.
const SLICE: usize = 128;
/// Rows looked at in one call.
const BUDGET: usize = 4_096;

impl<P: Payloads> Shared<P> {
    pub(super) fn search_events(
        &self,
        query: &EventQuery,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Found<FoundEvent>, StoreError> {
        let source = Source::of_events(&*self.view()?, query)?;
        let (low, high) = self.view()?.span(query.since, query.until)?;
        self.slices(before, high, limit, |view, before, want| {
            view.events_slice(query, &source, (low, before), want, SLICE)
        })
    }

    pub(super) fn search_flows(
        &self,
        query: &FlowQuery,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Found<FoundFlow>, StoreError> {
        let source = Source::of_flows(query);
        let (low, high) = self.view()?.span(query.since, query.until)?;
        // By a later event a flow of the time before may be found.
        let start = if matches!(source, Source::List(_)) { Seq(u64::MAX) } else { high };
        self.slices(before, start, limit, |view, before, want| {
            view.flows_slice(query, &source, (low, before), want, SLICE)
        })
    }

    fn slices<T>(
        &self,
        before: Option<Seq>,
        start: Seq,
        limit: usize,
        slice: impl Fn(&View, Seq, usize) -> Result<Found<T>, StoreError>,
    ) -> Result<Found<T>, StoreError> {
        let mut at = before.map_or(start, |before| before.min(start));
        let mut items = Vec::new();
        for _ in 0..BUDGET / SLICE {
            let found = slice(&*self.view()?, at, limit.saturating_sub(items.len()))?;
            items.extend(found.items);
            match found.next {
                Some(next) if items.len() < limit => at = next,
                next => return Ok(Found { items, next }),
            }
        }
        Ok(Found { items, next: Some(at) })
    }
}
