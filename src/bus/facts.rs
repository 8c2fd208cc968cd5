//! The audit as people read it: what operators did and what the system found, the newest first.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::QueryError;
use super::handle::{Bus, Inner};
use super::render::{raw, timestamp};
use super::view::Page;
use crate::event::Timestamp;
use crate::store::{EventRecord, Seq};

/// Facts read from the store at once.
const PAGE: usize = 256;
/// Facts that one question looks at; its page may be short or empty then, and still not be the last.
const LOOKED_AT: usize = 4_096;

/// A fact of the bus's own.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FactView {
    /// Its id.
    pub id: String,
    /// Its name, under `tidegate.`.
    pub name: String,
    /// When, RFC 3339.
    pub time: String,
    /// What it is about: a dead letter, a subscription, a flow, a job.
    pub about: Option<String>,
    /// Who acted, as they say themselves; empty for what the system found.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// Id of the event that it came of.
    pub causation: Option<String>,
    /// All that it tells; `null` when its payload is past retention.
    #[schema(value_type = Option<Object>)]
    pub data: Option<Box<RawValue>>,
}

/// Which facts to list: those that agree with every field that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FactFilter {
    /// Its name.
    pub name: Option<String>,
    /// Told at this time or later.
    pub since: Option<Timestamp>,
    /// Told before this time.
    pub until: Option<Timestamp>,
    /// What it is about, what orders it, or the event that it came of.
    pub about: Option<String>,
    /// Who acted.
    pub by: Option<String>,
}

impl FactFilter {
    fn may_take(&self, fact: &EventRecord) -> bool {
        self.name.as_deref().is_none_or(|name| name == fact.name.as_str())
            && self.until.is_none_or(|until| fact.acknowledged < until)
    }
}

impl Bus {
    /// A page of the audit, the newest first. Facts last as long as the status of any other event.
    ///
    /// # Errors
    /// [`QueryError::BadCursor`].
    pub async fn audit(
        &self,
        filter: FactFilter,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page<FactView>, QueryError> {
        self.read(move |inner| inner.audit(&filter, cursor.as_deref(), limit)).await
    }
}

impl Inner {
    fn audit(
        &self,
        filter: &FactFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<FactView>, QueryError> {
        let bad = |cursor: &str| QueryError::BadCursor { cursor: cursor.to_owned() };
        let mut before = cursor.map(|text| text.parse().map(Seq).map_err(|_| bad(text))).transpose()?;
        let (mut items, mut looked_at) = (Vec::new(), 0);
        while looked_at < LOOKED_AT {
            let page = self.reader.facts(before, PAGE)?;
            if page.is_empty() {
                return Ok(Page { items, next: None });
            }
            for fact in page {
                if filter.since.is_some_and(|since| fact.acknowledged < since) {
                    return Ok(Page { items, next: None });
                }
                if items.len() == limit {
                    return Ok(Page { items, next: before.map(|seq| seq.0.to_string()) });
                }
                (before, looked_at) = (Some(fact.seq), looked_at + 1);
                if filter.may_take(&fact) {
                    items.extend(self.fact_view(&fact, filter)?);
                }
            }
        }
        Ok(Page { items, next: before.map(|seq| seq.0.to_string()) })
    }

    /// The fact with its data, unless the filter leaves it out.
    fn fact_view(&self, fact: &EventRecord, filter: &FactFilter) -> Result<Option<FactView>, QueryError> {
        let event = self.reader.envelope(fact.seq)?;
        let data = event.as_ref().map(|event| &event.data);
        let (by, reason) = data.map(who).unwrap_or_default();
        let about = event.as_ref().and_then(|event| event.subject.clone());
        let key = event.as_ref().map(|event| event.key.as_str());
        let concerns =
            |wanted: &str| [about.as_deref(), key, fact.causation.as_deref()].contains(&Some(wanted));
        let is_taken = filter.by.as_ref().is_none_or(|wanted| *wanted == by)
            && filter.about.as_deref().is_none_or(concerns);
        let view = FactView {
            id: fact.id.clone(),
            name: fact.name.to_string(),
            time: timestamp(fact.acknowledged),
            by,
            reason,
            causation: fact.causation.clone(),
            data: data.and_then(raw),
            about,
        };
        Ok(is_taken.then_some(view))
    }
}

/// Who acted and why. Only where a person did: the reason of a dead letter is another thing.
fn who(data: &Bytes) -> (String, String) {
    let data: Value = serde_json::from_slice(data).unwrap_or_default();
    let text = |name: &str| data.get(name).and_then(Value::as_str).map(str::to_owned);
    let Some(by) = text("by") else { return Default::default() };
    (by, text("reason").unwrap_or_default())
}
