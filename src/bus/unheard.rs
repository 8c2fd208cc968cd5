//! What nobody has heard: events without a subscription, and those that a filter has kept out.

use std::collections::BTreeMap;

use super::QueryError;
use super::handle::Bus;
use super::render::timestamp;
use super::view::{NameCount, Page, UnheardView, UnroutedView};
use crate::store::{EventRecord, Seq};

/// Events whose names are counted.
const COUNTED: usize = 1_000;

impl Bus {
    /// A page of the events that nobody listened to, the newest first, while their status is there.
    ///
    /// # Errors
    /// [`QueryError::BadCursor`].
    pub async fn unrouted(&self, cursor: Option<String>, limit: usize) -> Result<UnroutedView, QueryError> {
        self.read(move |inner| {
            let before = cursor.as_deref().map(parse).transpose()?;
            let found = inner.reader.unrouted(before, limit.saturating_add(1))?;
            let counted = if before.is_none() { inner.reader.unrouted(None, COUNTED)? } else { Vec::new() };
            let Page { items, next } = page(found, limit);
            Ok(UnroutedView { items, next, total: inner.reader.stats().unrouted, names: names(&counted) })
        })
        .await
    }

    /// A page of the events that a subscription's `where` has kept out, the newest first, while their status
    /// is there.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]; [`QueryError::BadCursor`].
    pub async fn filtered(
        &self,
        subscription: &str,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page<UnheardView>, QueryError> {
        let name = subscription.to_owned();
        self.read(move |inner| {
            let before = cursor.as_deref().map(parse).transpose()?;
            let id = inner.named(&name)?.id;
            Ok(page(inner.reader.filtered(id, before, limit.saturating_add(1))?, limit))
        })
        .await
    }
}

fn parse(cursor: &str) -> Result<Seq, QueryError> {
    cursor.parse().map(Seq).map_err(|_| QueryError::BadCursor { cursor: cursor.to_owned() })
}

fn page(mut found: Vec<EventRecord>, limit: usize) -> Page<UnheardView> {
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_more).map(|event| event.seq.0.to_string());
    Page { items: found.iter().map(view).collect(), next }
}

fn view(event: &EventRecord) -> UnheardView {
    UnheardView {
        seq: event.seq.0,
        id: event.id.clone(),
        source: event.source.clone(),
        name: event.name.to_string(),
        key: event.key.clone(),
        flow: event.flow.clone(),
        acknowledged: timestamp(event.acknowledged),
    }
}

fn names(events: &[EventRecord]) -> Vec<NameCount> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for event in events {
        *counts.entry(event.name.as_str()).or_default() += 1;
    }
    let mut names: Vec<NameCount> =
        counts.into_iter().map(|(name, events)| NameCount { name: name.to_owned(), events }).collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.events));
    names
}
