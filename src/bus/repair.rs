//! Dead letters: listing them, their groups, and what waits behind one.

use super::QueryError;
use super::handle::{Bus, Inner};
use super::render::{dead_group_view, dead_letter_view, raw, reason, waiting_view};
use super::view::{DeadGroupView, DeadLetterFilter, DeadLetterView, Page, WaitingView};
use crate::store::{DeadLetter, GroupId, Ordinal, Seq, SubscriptionId};

/// Dead letters read from the store at once while a filter is looked for.
const PAGE: usize = 512;

/// The most deliveries behind a dead letter that are counted.
const BEHIND_MAX: usize = 100_000;

impl DeadLetterFilter {
    pub(super) fn takes(&self, letter: &DeadLetter) -> bool {
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
        self.read(move |inner| inner.shown(&id)).await
    }

    /// A page of what waits behind a dead letter, in the order in which it will be handled.
    ///
    /// It shows what was put aside for the key so far; what the subscription has not read yet is not among it.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]; [`QueryError::BadCursor`].
    pub async fn waiting_behind(
        &self,
        id: &str,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page<WaitingView>, QueryError> {
        let id = id.to_owned();
        self.read(move |inner| inner.waiting_behind(&id, cursor.as_deref(), limit)).await
    }

    /// A page of the groups of dead letters that have failed alike.
    ///
    /// # Errors
    /// [`QueryError::BadCursor`]; [`QueryError::NotFound`] for an unknown subscription.
    pub async fn dead_groups(
        &self,
        subscription: Option<String>,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page<DeadGroupView>, QueryError> {
        self.read(move |inner| inner.dead_groups(subscription.as_deref(), cursor.as_deref(), limit)).await
    }
}

impl Inner {
    /// What the id of a dead letter names, whether it is one or not.
    pub(super) fn letter_id(&self, id: &str) -> Result<(SubscriptionId, Seq), QueryError> {
        let unknown = || QueryError::NotFound { what: format!("dead letter {id:?}") };
        let (name, number) = id.rsplit_once('-').ok_or_else(unknown)?;
        let seq = Seq(number.parse().map_err(|_| unknown())?);
        Ok((self.named(name).map_err(|_| unknown())?.id, seq))
    }

    fn dead_letter(&self, id: &str) -> Result<DeadLetter, QueryError> {
        let (subscription, seq) = self.letter_id(id)?;
        let letter = self.reader.dead_letter(subscription, seq)?;
        letter.ok_or_else(|| QueryError::NotFound { what: format!("dead letter {id:?}") })
    }

    /// One dead letter with what a person needs to decide about it.
    fn shown(&self, id: &str) -> Result<DeadLetterView, QueryError> {
        let letter = self.dead_letter(id)?;
        let behind = if letter.parks {
            let DeadLetter { subscription, key, ordinal, .. } = &letter;
            self.reader.count_waiting(*subscription, key, *ordinal, BEHIND_MAX)?
        } else {
            0
        };
        let data = self.reader.envelope(letter.seq)?.and_then(|event| raw(&event.data));
        Ok(DeadLetterView { behind: Some(behind as u64), data, ..dead_letter_view(self, letter) })
    }

    fn waiting_behind(
        &self,
        id: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<WaitingView>, QueryError> {
        let letter = self.dead_letter(id)?;
        if !letter.parks {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let bad = |cursor: &str| QueryError::BadCursor { cursor: cursor.to_owned() };
        let after = match cursor {
            Some(cursor) => Ordinal(cursor.parse().map_err(|_| bad(cursor))?),
            None => letter.ordinal,
        };
        let after = after.max(letter.ordinal);
        let mut found =
            self.reader.waiting(letter.subscription, &letter.key, after, limit.saturating_add(1))?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| has_more).map(|(ordinal, _)| ordinal.0.to_string());
        let mut items = Vec::with_capacity(found.len());
        for (_, seq) in found {
            items.extend(self.reader.event(seq)?.map(|event| waiting_view(&event)));
        }
        Ok(Page { items, next })
    }

    fn dead_groups(
        &self,
        subscription: Option<&str>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<DeadGroupView>, QueryError> {
        let subscription = match subscription {
            Some(name) => Some(self.named(name)?.id),
            None => None,
        };
        let after = cursor.map(parse_cursor).transpose()?.map(|(id, group)| (id, GroupId(group)));
        let mut found = self.reader.dead_groups(subscription, after, limit.saturating_add(1))?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| has_more);
        let next = last.map(|group| cursor_text((group.subscription, group.group.0)));
        Ok(Page { items: found.into_iter().map(|group| dead_group_view(self, group)).collect(), next })
    }

    /// A page of what a filter may leave.
    pub(super) fn letters(
        &self,
        subscription: Option<SubscriptionId>,
        group: Option<GroupId>,
        after: Option<(SubscriptionId, Seq)>,
    ) -> Result<Vec<DeadLetter>, QueryError> {
        let Some(group) = group else { return Ok(self.reader.dead_letters(subscription, after, PAGE)?) };
        let Some(found) = self.reader.dead_group(group)? else { return Ok(Vec::new()) };
        if subscription.is_some_and(|id| id != found.subscription) {
            return Ok(Vec::new());
        }
        Ok(self.reader.grouped(found.subscription, group, after.map(|(_, seq)| seq), PAGE)?)
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
        let bad = |_| QueryError::Invalid { pointer: "group".to_owned(), why: "is no group's id".to_owned() };
        let group = filter.group.as_deref().map(str::parse::<GroupId>).transpose().map_err(bad)?;
        let mut after = cursor.map(parse_cursor).transpose()?.map(|(id, seq)| (id, Seq(seq)));
        let mut items = Vec::new();
        loop {
            let page = self.letters(subscription, group, after)?;
            let is_last = page.len() < PAGE;
            for letter in page {
                if items.len() == limit {
                    return Ok(Page { items, next: after.map(|(id, seq)| cursor_text((id, seq.0))) });
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

fn cursor_text((subscription, number): (SubscriptionId, u64)) -> String {
    format!("{}-{number}", subscription.0)
}

fn parse_cursor(cursor: &str) -> Result<(SubscriptionId, u64), QueryError> {
    let bad = || QueryError::BadCursor { cursor: cursor.to_owned() };
    let (subscription, number) = cursor.split_once('-').ok_or_else(bad)?;
    Ok((SubscriptionId(subscription.parse().map_err(|_| bad())?), number.parse().map_err(|_| bad())?))
}
