//! Search: one slice of a search for events or flows, the newest first.
//!
//! The narrowest list there is leads: the flow's events, the key's, the open flows or those with dead
//! letters, the name's; without any of them all events are walked through. What a list names is read and
//! compared with the whole query, so a list may hold more than there is.

use std::sync::Arc;

use super::flow::FlowHead;
use super::index::List;
use super::keys::Key;
use super::{EventRow, View, keys};
use crate::event::Timestamp;
use crate::store::{EventQuery, FlowQuery, Found, FoundEvent, FoundFlow, Seq, Standing, StoreError};

/// Acknowledgements may be this much out of order, when the clock was put back. It is looked through in
/// vain at each search by time, so at a thousand events a second a minute would be more than one call does.
const CLOCK_SLACK_MS: u64 = 2_000;
/// Most rows of one stretch of numbers; a stretch that holds more is cut.
const STRETCH_ROWS: usize = 512;
/// Numbers in a stretch, at least: it never holds more rows than are read.
const STRETCH_MIN: u64 = 256;
/// Numbers in a stretch where hardly any event is left.
const STRETCH_MAX: u64 = 1 << 20;
/// Stretches looked through in one slice.
const STRETCHES: usize = 16;
/// Rows read at a time to find the next one.
const PAGE: usize = 16;
/// Events of a flow that are compared with a query.
const LOOKED_INTO: usize = 1_000;

/// Where the candidates of a search come from.
#[derive(Debug)]
pub(in crate::store) enum Source<'q> {
    /// A list of events.
    List(List<'q>),
    /// The events of a flow.
    Flow(Vec<Seq>),
    /// The open flows.
    Open,
    /// The flows with dead letters.
    Dead,
    /// All events.
    All,
}

/// Rows of a slice, the newest first, and where the next one begins.
type Slice<T> = (Vec<T>, Option<Seq>);

impl<'q> Source<'q> {
    pub(in crate::store) fn of_events(view: &View, query: &'q EventQuery) -> Result<Self, StoreError> {
        if let Some(flow) = &query.flow {
            let mut seqs = Vec::new();
            if let Some(head) = view.flow_head(flow)? {
                view.each_of_flow(&head, |seq| {
                    seqs.push(seq);
                    Ok(true)
                })?;
            }
            return Ok(Self::Flow(seqs));
        }
        Ok(match (&query.key, &query.name) {
            (Some(key), _) if !key.is_empty() => Self::List(List::Key(key)),
            (_, Some(name)) => Self::List(List::Name(name)),
            (_, None) => Self::All,
        })
    }

    pub(in crate::store) fn of_flows(query: &'q FlowQuery) -> Self {
        match (&query.key, query.standing, &query.name) {
            (Some(key), _, _) if !key.is_empty() => Self::List(List::Key(key)),
            (_, Some(Standing::Open), _) => Self::Open,
            (_, Some(Standing::Dead), _) => Self::Dead,
            (_, Some(Standing::Rest) | None, Some(name)) => Self::List(List::Name(name)),
            (_, Some(Standing::Rest) | None, None) => Self::All,
        }
    }
}

impl View {
    /// The numbers of events that may have been acknowledged between two times: the first, and the one after
    /// the last.
    pub(in crate::store) fn span(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<(Seq, Seq), StoreError> {
        let earlier = |at: Timestamp| Timestamp(at.0.saturating_sub(CLOCK_SLACK_MS));
        let low = since.map_or(Ok(Seq(0)), |at| self.first_since(earlier(at)))?;
        let end = Seq(self.head.seqs.saturating_add(1));
        let high = until.map_or(Ok(end), |at| self.first_since(at.plus_millis(CLOCK_SLACK_MS)))?;
        Ok((low, high))
    }

    /// The first event acknowledged at `at` or later, by halving; the number after the last when there is none.
    fn first_since(&self, at: Timestamp) -> Result<Seq, StoreError> {
        let mut high = self.head.seqs.saturating_add(1);
        // What has expired lies before it; halving would pass over the deleted rows again and again.
        let Some((first, time)) = self.next_event(1, high)? else { return Ok(Seq(high)) };
        if time >= at {
            return Ok(Seq(first));
        }
        let mut low = first + 1;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.next_event(middle, high)? {
                Some((seq, time)) if time < at => low = seq + 1,
                Some(_) | None => high = middle,
            }
        }
        Ok(Seq(low))
    }

    fn next_event(&self, from: u64, to: u64) -> Result<Option<(u64, Timestamp)>, StoreError> {
        let row = self.scan_events(Seq(from), Seq(to), 1)?.into_iter().next();
        Ok(row.map(|row| (row.record.seq.0, row.record.acknowledged)))
    }

    /// One slice of events between the two numbers of `span`.
    pub(in crate::store) fn events_slice(
        &self,
        query: &EventQuery,
        source: &Source<'_>,
        span: (Seq, Seq),
        want: usize,
        slice: usize,
    ) -> Result<Found<FoundEvent>, StoreError> {
        let (rows, mut next) = self.rows_below(source, span, slice)?;
        let mut items = Vec::new();
        for row in rows {
            if items.len() >= want {
                break;
            }
            let seq = row.record.seq;
            if query.takes(&row) {
                items.push(found(row));
                if items.len() == want {
                    next = Some(seq);
                }
            }
        }
        Ok(Found { items, next })
    }

    /// One slice of flows whose places are between the two numbers of `span`.
    pub(in crate::store) fn flows_slice(
        &self,
        query: &FlowQuery,
        source: &Source<'_>,
        span: (Seq, Seq),
        want: usize,
        slice: usize,
    ) -> Result<Found<FoundFlow>, StoreError> {
        let (candidates, mut next) = match source {
            Source::Open => self.flows_below(keys::open_flows(), span, slice)?,
            Source::Dead => self.flows_below(keys::dead_flows(), span, slice)?,
            Source::List(_) | Source::Flow(_) | Source::All => {
                let (rows, next) = self.rows_below(source, span, slice)?;
                let place = |row: Arc<EventRow>| (row.record.seq, row.record.flow.clone());
                (rows.into_iter().map(place).collect(), next)
            }
        };
        let is_of_events = !matches!(source, Source::Open | Source::Dead);
        let mut items: Vec<FoundFlow> = Vec::new();
        for (place, flow) in candidates {
            let Some(first) = self.standing_at(query, (&flow, place), is_of_events, span.0)? else {
                continue;
            };
            items.push(FoundFlow { flow, place, first });
            if items.len() >= want {
                next = Some(place);
                break;
            }
        }
        Ok(Found { items, next })
    }

    /// The flow's first event, when the flow agrees with the query and, when it was found by its events, belongs to this
    /// place.
    fn standing_at(
        &self,
        query: &FlowQuery,
        (flow, place): (&str, Seq),
        is_of_events: bool,
        low: Seq,
    ) -> Result<Option<FoundEvent>, StoreError> {
        // A flow that stands under the place is the one that its event belongs to.
        let Some(head) = self.flow_head_at(place, flow)? else { return Ok(None) };
        let stands = match query.standing {
            Some(Standing::Open) => head.open > 0,
            Some(Standing::Rest) => head.open == 0,
            Some(Standing::Dead) => head.dead > 0,
            None => true,
        };
        let is_plain = query.key.is_none() && query.name.is_none();
        // Most candidates are settled by what the head tells.
        let known = head.first_event();
        let is_elsewhere = is_plain && is_of_events && known.is_some_and(|first| first != place);
        let is_before = known.is_some_and(|first| first < low);
        if !stands || is_elsewhere || is_before {
            return Ok(None);
        }
        let Some(first) = self.first_that(&head, |_| true)? else { return Ok(None) };
        let agreeing = if is_plain {
            Some(first.record.seq)
        } else {
            self.first_that(&head, |row| query.takes(row))?.map(|row| row.record.seq)
        };
        let belongs = agreeing.is_some_and(|seq| !is_of_events || place == seq);
        let is_timely = within(first.record.acknowledged, query.since, query.until);
        Ok((belongs && is_timely).then(|| found(first)))
    }

    /// The first of a flow's events that is known and agrees, among the first thousand.
    fn first_that(
        &self,
        head: &FlowHead,
        agrees: impl Fn(&EventRow) -> bool,
    ) -> Result<Option<Arc<EventRow>>, StoreError> {
        let (mut found, mut looked_into) = (None, 0);
        self.each_of_flow(head, |seq| {
            looked_into += 1;
            found = self.event_row(seq)?.filter(|row| agrees(row));
            Ok(found.is_none() && looked_into < LOOKED_INTO)
        })?;
        Ok(found)
    }

    fn rows_below(
        &self,
        source: &Source<'_>,
        (low, before): (Seq, Seq),
        limit: usize,
    ) -> Result<Slice<Arc<EventRow>>, StoreError> {
        let seqs = match source {
            Source::All => return self.all_below(low, before, limit),
            Source::List(list) => self.listed_below(*list, before, limit)?,
            Source::Flow(seqs) => {
                let under = seqs.get(..seqs.partition_point(|seq| *seq < before)).unwrap_or_default();
                under.iter().rev().take(limit).copied().collect()
            }
            Source::Open | Source::Dead => Vec::new(),
        };
        let next = seqs.last().copied().filter(|last| seqs.len() == limit && *last > low);
        let mut rows = Vec::with_capacity(seqs.len());
        for seq in seqs.into_iter().take_while(|seq| *seq >= low) {
            rows.extend(self.event_row(seq)?);
        }
        Ok((rows, next))
    }

    /// All events under `before`, stretch by stretch; the stretches grow where little is left.
    fn all_below(&self, low: Seq, before: Seq, limit: usize) -> Result<Slice<Arc<EventRow>>, StoreError> {
        let floor = low.0.max(1);
        let (mut at, mut stretch) = (before.0, STRETCH_MIN.min(limit as u64).max(1));
        let mut rows = Vec::new();
        for _ in 0..STRETCHES {
            if at <= floor || rows.len() >= limit {
                break;
            }
            let from = at.saturating_sub(stretch).max(floor);
            let found = self.scan_events(Seq(from), Seq(at), STRETCH_ROWS + 1)?;
            if found.len() > STRETCH_ROWS {
                stretch = (stretch / 8).clamp(1, STRETCH_ROWS as u64);
                continue;
            }
            if found.len() < PAGE {
                stretch = stretch.saturating_mul(8).min(STRETCH_MAX);
            }
            rows.extend(found.into_iter().rev());
            at = from;
        }
        Ok((rows, Some(Seq(at)).filter(|at| at.0 > floor)))
    }

    fn flows_below(
        &self,
        index: Key,
        (low, before): (Seq, Seq),
        limit: usize,
    ) -> Result<Slice<(Seq, String)>, StoreError> {
        let Some(last) = before.0.checked_sub(1) else { return Ok((Vec::new(), None)) };
        let end = index.end();
        let rows = self.rows.scan(&keys::indexed(index, last).bytes(), &end, limit)?;
        let is_whole = rows.len() == limit;
        let mut found = Vec::with_capacity(rows.len());
        for (key, text) in rows {
            let first = Seq(!keys::last_u64(&key).unwrap_or_default());
            let flow = if text.is_empty() {
                self.event_row(first)?.ok_or_else(|| self.lost_event(first, ""))?.record.flow.clone()
            } else {
                String::from_utf8_lossy(&text).into_owned()
            };
            found.push((first, flow));
        }
        let next = found.last().map(|(seq, _)| *seq).filter(|seq| is_whole && *seq > low);
        found.retain(|(seq, _)| *seq >= low);
        Ok((found, next))
    }
}

fn found(row: Arc<EventRow>) -> FoundEvent {
    let event = Arc::unwrap_or_clone(row).into_record();
    FoundEvent { key: event.key.clone(), event }
}

fn within(at: Timestamp, since: Option<Timestamp>, until: Option<Timestamp>) -> bool {
    since.is_none_or(|since| at >= since) && until.is_none_or(|until| at < until)
}

fn agrees(row: &EventRow, name: Option<&str>, key: Option<&str>) -> bool {
    name.is_none_or(|name| row.record.name.as_str() == name) && key.is_none_or(|key| row.record.key == key)
}

impl EventQuery {
    fn takes(&self, row: &EventRow) -> bool {
        agrees(row, self.name.as_deref(), self.key.as_deref())
            && self.flow.as_deref().is_none_or(|flow| row.record.flow == flow)
            && within(row.record.acknowledged, self.since, self.until)
    }
}

impl FlowQuery {
    fn takes(&self, row: &EventRow) -> bool {
        agrees(row, self.name.as_deref(), self.key.as_deref())
    }
}
