//! Dead letters: listing them, and what a person does about one.

use super::handle::{Bus, Inner};
use super::query::applied;
use super::render::{dead_letter_view, reason};
use super::view::{DeadLetterFilter, DeadLetterView, Page};
use super::{Operator, QueryError};
use crate::store::{Change, DeadLetter, Receipt, Repair, Seq, SubscriptionId};

/// Dead letters read from the store at once while a filter is looked for.
const PAGE: usize = 512;

impl DeadLetterFilter {
    fn takes(&self, letter: &DeadLetter) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|w| w == value);
        is(&self.event, &letter.event.id)
            && is(&self.source, &letter.event.source)
            && is(&self.name, letter.event.name.as_str())
            && is(&self.flow, &letter.event.flow)
            && is(&self.key, &letter.key)
            && is(&self.reason, reason(letter.reason))
    }
}

impl Bus {
    /// A page of dead letters, in the order of subscription and event.
    ///
    /// # Errors
    /// [`QueryError::BadCursor`]; [`QueryError::NotFound`] for an unknown subscription.
    pub async fn dead_letters(
        &self,
        filter: DeadLetterFilter,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page<DeadLetterView>, QueryError> {
        self.read(move |inner| inner.dead_letters(&filter, cursor.as_deref(), limit)).await
    }

    /// One dead letter.
    ///
    /// # Errors
    /// [`QueryError::NotFound`], also when it is none any more.
    pub async fn dead_letter(&self, id: &str) -> Result<DeadLetterView, QueryError> {
        let id = id.to_owned();
        self.read(move |inner| inner.dead_letter(&id).map(|letter| dead_letter_view(inner, letter))).await
    }

    /// Retries a dead letter with a fresh count of attempts, or skips it for good; what waited behind it
    /// goes on in order.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]; [`QueryError::Refused`] when somebody else has acted on it meanwhile.
    pub async fn repair(&self, id: &str, retry: bool, operator: Operator) -> Result<(), QueryError> {
        let named = id.to_owned();
        let letter = self.read(move |inner| inner.dead_letter(&named)).await?;
        let fact = if retry { "tidegate.dead_letter.retried" } else { "tidegate.dead_letter.skipped" };
        let fact = operator.fact(
            fact,
            id,
            serde_json::json!({ "flow": letter.event.flow, "event": letter.event.id }),
        );
        let reason = operator.reason;
        let repair = Repair { subscription: letter.subscription, seq: letter.seq, retry, reason };
        let ports = self.0.ports.clone();
        let tell = move |receipt: &Receipt| {
            if let Some(port) = ports.get(&letter.subscription).filter(|_| applied(receipt)) {
                port.repaired(letter.ordinal, letter.key, retry);
            }
        };
        let receipt = self.act_and_tell(Change::Repair(repair), fact, tell).await?;
        if !applied(&receipt) {
            return Err(QueryError::Refused { why: format!("dead letter {id} was repaired meanwhile") });
        }
        Ok(())
    }
}

impl Inner {
    fn dead_letter(&self, id: &str) -> Result<DeadLetter, QueryError> {
        let unknown = || QueryError::NotFound { what: format!("dead letter {id:?}") };
        let (name, number) = id.rsplit_once('-').ok_or_else(unknown)?;
        let seq = Seq(number.parse().map_err(|_| unknown())?);
        let subscription = self.named(name).map_err(|_| unknown())?.id;
        self.reader.dead_letter(subscription, seq)?.ok_or_else(unknown)
    }

    fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<DeadLetterView>, QueryError> {
        let subscription = match &filter.subscription {
            Some(name) => Some(self.named(name)?.id),
            None => None,
        };
        let mut after = cursor.map(parse_cursor).transpose()?;
        let mut items = Vec::new();
        loop {
            let page = self.reader.dead_letters(subscription, after, PAGE)?;
            let is_last = page.len() < PAGE;
            for letter in page {
                if items.len() == limit {
                    return Ok(Page { items, next: after.map(cursor_text) });
                }
                after = Some((letter.subscription, letter.seq));
                if filter.takes(&letter) {
                    items.push(dead_letter_view(self, letter));
                }
            }
            if is_last {
                return Ok(Page { items, next: None });
            }
        }
    }
}

fn cursor_text((subscription, seq): (SubscriptionId, Seq)) -> String {
    format!("{}-{}", subscription.0, seq.0)
}

fn parse_cursor(cursor: &str) -> Result<(SubscriptionId, Seq), QueryError> {
    let bad = || QueryError::BadCursor { cursor: cursor.to_owned() };
    let (subscription, seq) = cursor.split_once('-').ok_or_else(bad)?;
    Ok((SubscriptionId(subscription.parse().map_err(|_| bad())?), Seq(seq.parse().map_err(|_| bad())?)))
}
