//! Groups: dead letters that have failed alike, counted as they come and go.
//!
//! The row of a dead letter names its group, so that the letter leaves the group that it came into, however
//! messages are compared by then. Letters of version 1 have none: they get theirs when the store is opened.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{View, keys};
use crate::event::Timestamp;
use crate::store::{DeadGroup, DeadLetter, DeadReason, GroupId, Ordinal, Seq, StoreError, SubscriptionId};

/// Bytes of an error that are looked at.
const LOOKED_AT: usize = 2_048;
/// Characters of a message that are kept.
const MESSAGE_MAX: usize = 240;
/// Characters of a quoted text at most; beyond that the first mark was none.
const QUOTED_MAX: usize = 400;
/// Letters without a digit among them that are an id only when they are so many.
const HEX_WORD: usize = 16;
/// Turns between letters and digits from which a word is an id.
const TURNS: usize = 3;

/// A group as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct GroupRow {
    reason: DeadReason,
    message: String,
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

impl View {
    /// The group of a failure.
    pub(super) fn group_of(&self, id: SubscriptionId, reason: DeadReason, message: &str) -> GroupId {
        let name = self.subscriptions.get(&id).map_or("", |subscription| subscription.name.as_str());
        let mut hasher = blake3::Hasher::new();
        for part in [name, word(reason), message] {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        let mut digest = [0; 8];
        hasher.finalize_xof().fill(&mut digest);
        GroupId(u64::from_be_bytes(digest))
    }

    /// Counts a new dead letter.
    pub(super) fn join_group(
        &mut self,
        id: SubscriptionId,
        seq: Seq,
        ordinal: Ordinal,
        reason: DeadReason,
        error: &str,
    ) -> Result<(), StoreError> {
        let message = normalised(error);
        let (group, now) = (self.group_of(id, reason, &message), self.head.at);
        let key = keys::dead_group(id, group);
        let row = GroupRow { reason, message, count: 0, first: now, last: now };
        let row = self.get(&key)?.unwrap_or(row);
        self.put(key, &GroupRow { count: row.count.saturating_add(1), last: now, ..row })?;
        self.rows.put(keys::dead_member(id, group, seq).bytes(), Bytes::new());
        let value = [group.0.to_be_bytes(), ordinal.0.to_be_bytes()].concat();
        self.rows.put(keys::dead(id, seq).bytes(), Bytes::from(value));
        Ok(())
    }

    /// Takes a dead letter out of its group. Call it while the letter has its row.
    pub(super) fn leave_group(&mut self, id: SubscriptionId, seq: Seq) -> Result<(), StoreError> {
        let Some(group) = self.member_of(id, seq)? else { return Ok(()) };
        self.rows.delete(keys::dead_member(id, group, seq).bytes());
        let key = keys::dead_group(id, group);
        match self.get::<GroupRow>(&key)? {
            Some(row) if row.count > 1 => self.put(key, &GroupRow { count: row.count - 1, ..row }),
            Some(_) | None => {
                self.rows.delete(key.bytes());
                Ok(())
            }
        }
    }

    /// The group that a dead letter stands in.
    pub(super) fn member_of(&self, id: SubscriptionId, seq: Seq) -> Result<Option<GroupId>, StoreError> {
        let value = self.rows.get(&keys::dead(id, seq).bytes())?;
        let group = value.filter(|value| value.len() == 16).and_then(|value| value.first_chunk().copied());
        Ok(group.map(u64::from_be_bytes).map(GroupId))
    }

    /// Gives the dead letters of version 1 their groups, once.
    pub(super) fn group_all(&mut self) -> Result<(), StoreError> {
        if std::mem::replace(&mut self.head.more.is_grouped, true) {
            return Ok(());
        }
        let (all, now) = (keys::all_dead(), self.head.at);
        for (key, _) in self.rows.scan(&all.clone().bytes(), &all.end(), usize::MAX)? {
            let (Some(id), Some(seq)) = (keys::subscription_of(&key), keys::last_u64(&key)) else { continue };
            let Some(letter) = self.dead_letter(id, Seq(seq))? else { continue };
            self.head.at = letter.since;
            self.join_group(id, letter.seq, letter.ordinal, letter.reason, &letter.error)?;
        }
        self.head.at = now;
        Ok(())
    }

    /// Up to `limit` groups after `after`.
    pub(in crate::store) fn dead_groups(
        &self,
        id: Option<SubscriptionId>,
        after: Option<(SubscriptionId, GroupId)>,
        limit: usize,
    ) -> Result<Vec<DeadGroup>, StoreError> {
        let all = id.map_or_else(keys::all_dead_groups, keys::dead_groups);
        let start = after.map(|(id, group)| [keys::dead_group(id, group).bytes().as_slice(), &[0]].concat());
        let from = start.unwrap_or_default().max(all.clone().bytes());
        let mut found = Vec::new();
        for (key, value) in self.rows.scan(&from, &all.end(), limit)? {
            let (Some(id), Some(group)) = (keys::subscription_of(&key), keys::last_u64(&key)) else {
                continue;
            };
            let row = self.decode(&key, &value)?;
            found.extend(self.dead_group_of(id, GroupId(group), row)?);
        }
        Ok(found)
    }

    /// One group.
    pub(in crate::store) fn dead_group(&self, group: GroupId) -> Result<Option<DeadGroup>, StoreError> {
        for id in self.subscriptions.keys() {
            if let Some(row) = self.get(&keys::dead_group(*id, group))? {
                return self.dead_group_of(*id, group, row);
            }
        }
        Ok(None)
    }

    fn dead_group_of(
        &self,
        subscription: SubscriptionId,
        group: GroupId,
        row: GroupRow,
    ) -> Result<Option<DeadGroup>, StoreError> {
        let sample = self.members(subscription, group, None, 1)?.first().copied();
        let GroupRow { reason, message, count, first, last } = row;
        Ok(sample.map(|sample| DeadGroup {
            group,
            subscription,
            reason,
            message,
            count,
            first,
            last,
            sample,
        }))
    }

    /// Up to `limit` dead letters of a group after `after`.
    pub(in crate::store) fn grouped(
        &self,
        id: SubscriptionId,
        group: GroupId,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let mut found = Vec::new();
        for seq in self.members(id, group, after, limit)? {
            found.extend(self.dead_letter(id, seq)?);
        }
        Ok(found)
    }

    fn members(
        &self,
        id: SubscriptionId,
        group: GroupId,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Seq>, StoreError> {
        let all = keys::dead_members(id, group);
        let from = match after {
            Some(seq) => keys::dead_member(id, group, Seq(seq.0.saturating_add(1))).bytes(),
            None => all.clone().bytes(),
        };
        let rows = self.rows.scan(&from, &all.end(), limit)?;
        Ok(rows.iter().filter_map(|(key, _)| keys::last_u64(key)).map(Seq).collect())
    }
}

/// Never changed: groups are known by it.
const fn word(reason: DeadReason) -> &'static str {
    match reason {
        DeadReason::Attempts => "attempts",
        DeadReason::Fatal => "fatal",
        DeadReason::Undecodable => "undecodable",
        DeadReason::Expired => "expired",
        DeadReason::Crash => "crash",
    }
}

/// An error without what differs from one failure to the next of its kind: numbers, ids and quoted texts
/// stand as `#`.
pub(super) fn normalised(error: &str) -> String {
    let mut rest = cut(error, LOOKED_AT);
    let mut message = String::new();
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '"' | '`' | '\'' => {
                // An apostrophe within a word quotes nothing.
                let is_apostrophe = first == '\'' && message.ends_with(char::is_alphanumeric);
                quoted(rest, first).filter(|_| !is_apostrophe)
            }
            _ => None,
        };
        if let Some(len) = len {
            push(&mut message, "#");
            rest = rest.get(len..).unwrap_or_default();
            continue;
        }
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
        let len = rest.find(|c| !is_part(c)).unwrap_or(rest.len()).max(first.len_utf8());
        let (part, after) = rest.split_at(len);
        push(&mut message, &plain(part));
        rest = after;
    }
    message.trim().chars().take(MESSAGE_MAX).collect()
}

/// Adds to a message; numbers that a point or a colon holds together are one.
fn push(message: &mut String, part: &str) {
    if part.starts_with('#') && ["#.", "#:", "#,"].iter().any(|end| message.ends_with(end)) {
        message.pop();
        message.push_str(part.get(1..).unwrap_or_default());
    } else {
        message.push_str(part);
    }
}

/// The length of the quoted text that `text` begins with, its marks included.
fn quoted(text: &str, mark: char) -> Option<usize> {
    let inside = text.get(mark.len_utf8()..)?;
    let len = inside.find(mark).filter(|len| *len <= QUOTED_MAX)?;
    Some(len + 2 * mark.len_utf8())
}

/// A word without what is an id or a number in it.
fn plain(word: &str) -> String {
    let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
    let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let letters = word.bytes().filter(u8::is_ascii_hexdigit).count();
    if is_hex && (has_digit && letters >= 6 || letters >= HEX_WORD) {
        return "#".to_owned();
    }
    if !has_digit {
        return word.to_owned();
    }
    let kinds: Vec<bool> = word.chars().filter(|c| c.is_alphanumeric()).map(|c| c.is_ascii_digit()).collect();
    if kinds.windows(2).filter(|pair| pair.first() != pair.last()).count() >= TURNS {
        return "#".to_owned();
    }
    let mut text = String::new();
    for c in word.chars() {
        match c {
            '0'..='9' if text.ends_with('#') => {}
            '0'..='9' => text.push('#'),
            c => text.push(c),
        }
    }
    text
}

fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_failure_to_failure_is_left_out() {
        for (error, expected) in [
            ("gave up", "gave up"),
            ("order 4711 is unknown", "order # is unknown"),
            ("timed out after 1.5s", "timed out after #s"),
            ("connect 10.0.0.7:5432: refused", "connect #: refused"),
            ("no account \"stolen-1\" here", "no account # here"),
            ("can't read 'a b' of `x`", "can't read # of #"),
            ("it's the bank's fault", "it's the bank's fault"),
            ("id 550e8400-e29b-41d4-a716-446655440000 is gone", "id # is gone"),
            ("hash 33e18180604db4759d9ff997146bd662", "hash #"),
            ("ref zX81kq09Lm failed", "ref # failed"),
            ("a decade of facade", "a decade of facade"),
            ("o-17 and e4", "o-# and e#"),
            ("an open \" mark", "an open \" mark"),
            ("Überweisung 12 für \"Zoë\"", "Überweisung # für #"),
            ("", ""),
        ] {
            assert_eq!(normalised(error), expected, "{error}");
        }
    }

    #[test]
    fn a_message_is_bounded_whatever_the_error_is() {
        assert_eq!(normalised(&"é ".repeat(100_000)).chars().count(), MESSAGE_MAX);
        assert_eq!(normalised(&"\"".repeat(100_000)).chars().count(), MESSAGE_MAX);
    }
}
