//! Keys: one byte for the table, then big-endian integers and texts, so that rows sort as they are read.

pub(super) mod old;

use std::ops::RangeInclusive;

use super::flow_index::FlowName;
use crate::event::Identity;
use crate::store::{Commit, GroupId, Ordinal, Seq, Shelf, SubscriptionId};

/// Counters and dedupe buckets.
const HEAD: u8 = 0x01;
/// A subscription with its queue's meta data.
const SUBSCRIPTION: u8 = 0x02;
/// Flows in each bucket of them.
const FLOW_BUCKETS: u8 = 0x03;
/// (kind, bucket): the filter of a bucket that takes no more.
const SIEVE: u8 = 0x12;
/// (bucket, identity): event number and fingerprint.
pub(super) const DEDUPE: u8 = 0x10;
/// event number: its bookkeeping.
pub(super) const EVENT: u8 = 0x20;
/// (rest since, flow): what expires next; its text where that does not fit the key.
const REST: u8 = 0x33;
/// (first event of a flow, chunk): numbers of its events.
const FLOW_CHUNK: u8 = 0x37;
/// first event of a flow: its result.
const FLOW_RESULT: u8 = 0x38;
/// (first event of a flow, place): an event that undoes a step of it.
const UNDO: u8 = 0x39;
/// first event of a flow: its head.
pub(super) const FLOW: u8 = 0x3A;
/// (stretch of first events, name of a flow): its first event.
pub(super) const FLOW_NAME: u8 = 0x3C;
/// (subscription, first ordinal): event numbers of a stretch of the queue.
const QUEUE: u8 = 0x40;
/// (subscription, ordinal): a delivery with a record of its own.
const PENDING: u8 = 0x41;
/// (subscription, ordinal): those of them that can be attempted now.
const READY: u8 = 0x42;
/// (subscription, key, ordinal): those of them that are deferred.
const DEFERRED: u8 = 0x43;
/// (subscription, key, ordinal): those of them that the key's deferred ones wait for.
const BLOCKER: u8 = 0x44;
/// (subscription, event number): those of them that are dead.
const DEAD: u8 = 0x45;
/// (subscription, group): how many of them have failed alike.
const DEAD_GROUP: u8 = 0x46;
/// (subscription, group, event number): which ones.
const DEAD_MEMBER: u8 = 0x47;
/// (subscription, key): a step's state.
const STATE: u8 = 0x50;
/// (subscription, event number, name): a journaled result.
const EFFECT: u8 = 0x51;
/// (subscription, event number, commit): a key's state before and after an attempt.
const STEP_STATES: u8 = 0x52;
/// (due, event number): a delayed event.
const DELAYED: u8 = 0x60;
/// (deadline, flow): an open flow that is marked when it passes.
const DEADLINE: u8 = 0x61;
/// first event number of a group: where its payloads are.
const PLACE: u8 = 0x70;
/// (event number, newest first): an event that nobody listened to.
const UNROUTED: u8 = 0x90;
/// (subscription, event number, newest first): an event that a filter has kept out.
const FILTERED: u8 = 0x91;
/// (shelf, name): a record of the bus's own.
const SHELF: u8 = 0x80;
/// event number, counted down: a fact of the bus's own, the newest first.
const AUDIT: u8 = 0xA8;

/// (first event number counted down): a flow that is not at rest.
const OPEN_FLOW: u8 = 0xC1;
/// (first event number counted down): a flow with dead letters.
const DEAD_FLOW: u8 = 0xC2;
/// (word, text, first event number counted down): numbers of the events with that name or key, a full chunk.
const LISTED: u8 = 0xC3;
/// (word, text): those of them that fill no chunk yet.
pub(super) const LISTED_OPEN: u8 = 0xC4;

/// Events whose flows stand in one bucket, as a power of two.
const FLOW_BUCKET_BITS: u32 = 17;
/// Events whose flows have their names side by side, as a power of two: about what one checkpoint takes, since names stand in
/// no order of time, and each checkpoint that meets a stretch writes its pages again.
const STRETCH_BITS: u32 = 15;
/// A text that is longer than this stands in a key as its digest.
const TEXT_MAX: usize = 240;

/// Builds a key part by part.
#[derive(Debug, Clone)]
pub(in crate::store) struct Key(Vec<u8>);

impl Key {
    fn of(table: u8) -> Self {
        let mut bytes = Vec::with_capacity(24);
        bytes.push(table);
        Self(bytes)
    }

    fn byte(mut self, part: u8) -> Self {
        self.0.push(part);
        self
    }

    fn u32(mut self, part: u32) -> Self {
        self.0.extend_from_slice(&part.to_be_bytes());
        self
    }

    fn u64(mut self, part: u64) -> Self {
        self.0.extend_from_slice(&part.to_be_bytes());
        self
    }

    fn text(mut self, part: &str) -> Self {
        match u16::try_from(part.len()) {
            Ok(len) if fits(part) => {
                self.0.extend_from_slice(&len.to_be_bytes());
                self.0.extend_from_slice(part.as_bytes());
            }
            _ => {
                self.0.extend_from_slice(&u16::MAX.to_be_bytes());
                self.0.extend_from_slice(blake3::hash(part.as_bytes()).as_bytes());
            }
        }
        self
    }

    fn name(self, name: FlowName) -> Self {
        let mut key = self.byte(u8::from(name.is_hashed));
        key.0.extend_from_slice(&name.digest.0);
        key
    }

    /// The bytes.
    pub(in crate::store) fn bytes(self) -> Vec<u8> {
        self.0
    }

    /// The first key after all keys that begin with this one.
    pub(in crate::store) fn end(&self) -> Vec<u8> {
        let mut end = self.0.clone();
        while let Some(last) = end.pop() {
            if let Some(next) = last.checked_add(1) {
                end.push(next);
                break;
            }
        }
        end
    }
}

/// Whether a text stands in a key as it is.
pub(super) const fn fits(text: &str) -> bool {
    text.len() <= TEXT_MAX
}

/// The big-endian integer at the end of a key.
pub(in crate::store) fn last_u64(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The subscription that a key names right after its table.
pub(super) fn subscription_of(key: &[u8]) -> Option<SubscriptionId> {
    let bytes = key.get(1..5)?.first_chunk::<4>()?;
    Some(SubscriptionId(u32::from_be_bytes(*bytes)))
}

/// The identity at the end of a dedupe key.
pub(super) fn identity_of(key: &[u8]) -> Option<Identity> {
    key.last_chunk::<16>().map(|bytes| Identity(*bytes))
}

pub(super) fn head() -> Key {
    Key::of(HEAD)
}

pub(super) fn subscriptions() -> Key {
    Key::of(SUBSCRIPTION)
}

pub(super) fn subscription(id: SubscriptionId) -> Key {
    Key::of(SUBSCRIPTION).u32(id.0)
}

pub(super) fn bucket(number: u32) -> Key {
    Key::of(DEDUPE).u32(number)
}

pub(super) fn dedupe(number: u32, identity: Identity) -> Key {
    let mut key = bucket(number);
    key.0.extend_from_slice(&identity.0);
    key
}

pub(super) fn event(seq: Seq) -> Key {
    Key::of(EVENT).u64(seq.0)
}

/// Flows whose first event is one of a stretch, so that those that begin together stand together.
pub(super) fn flow_bucket(first: Seq) -> u32 {
    // There are fewer than 2^49 events.
    u32::try_from(first.0 >> FLOW_BUCKET_BITS).unwrap_or(u32::MAX)
}

/// The head of a flow.
pub(super) fn flow(first: Seq) -> Key {
    Key::of(FLOW).u64(first.0)
}

/// Where the names of flows that begin with an event of one stretch stand.
pub(super) fn flow_stretch(first: Seq) -> u32 {
    u32::try_from(first.0 >> STRETCH_BITS).unwrap_or(u32::MAX)
}

/// The stretches of a bucket, in order.
pub(super) const fn flow_stretches(bucket: u32) -> RangeInclusive<u32> {
    const WITHIN: u32 = FLOW_BUCKET_BITS - STRETCH_BITS;
    bucket << WITHIN..=(bucket << WITHIN | ((1 << WITHIN) - 1))
}

/// The names of the flows of a stretch.
pub(super) fn flow_names(stretch: u32) -> Key {
    Key::of(FLOW_NAME).u32(stretch)
}

pub(super) fn flow_name(stretch: u32, name: FlowName) -> Key {
    flow_names(stretch).name(name)
}

/// The name at the end of a key of [`flow_name`].
pub(super) fn flow_name_of(key: &[u8]) -> Option<FlowName> {
    let [kind, ..] = *key.last_chunk::<17>()?;
    Some(FlowName { is_hashed: kind != 0, digest: identity_of(key)? })
}

/// The text of a flow as a key of format 2 or before has it; the digest of a long one.
pub(super) enum FlowText<'a> {
    Whole(&'a str),
    Digest(&'a [u8]),
}

/// The text at a place of a key, at its end.
pub(super) fn flow_text(key: &[u8], at: usize) -> Option<FlowText<'_>> {
    let (len, text) = key.get(at..)?.split_first_chunk::<2>()?;
    if u16::from_be_bytes(*len) == u16::MAX {
        return Some(FlowText::Digest(text));
    }
    std::str::from_utf8(text).ok().map(FlowText::Whole)
}

pub(super) fn flow_buckets() -> Key {
    Key::of(FLOW_BUCKETS).byte(0)
}

pub(super) fn sieve(kind: u8, bucket: u32) -> Key {
    Key::of(SIEVE).byte(kind).u32(bucket)
}

pub(super) fn flow_chunk(first: Seq, chunk: u64) -> Key {
    Key::of(FLOW_CHUNK).u64(first.0).u64(chunk)
}

pub(super) fn flow_result(first: Seq) -> Key {
    Key::of(FLOW_RESULT).u64(first.0)
}

pub(super) fn rests() -> Key {
    Key::of(REST)
}

pub(super) fn rest_until(since: u64) -> Key {
    Key::of(REST).u64(since)
}

pub(super) fn rest(since: u64, flow: &str) -> Key {
    rest_until(since).text(flow)
}

pub(super) fn undo(first: Seq, place: u32) -> Key {
    Key::of(UNDO).u64(first.0).u32(place)
}

pub(super) fn queue(id: SubscriptionId, first: u64) -> Key {
    Key::of(QUEUE).u32(id.0).u64(first)
}

pub(super) fn pendings(id: SubscriptionId) -> Key {
    Key::of(PENDING).u32(id.0)
}

pub(super) fn pending(id: SubscriptionId, ordinal: Ordinal) -> Key {
    pendings(id).u64(ordinal.0)
}

pub(super) fn readies(id: SubscriptionId) -> Key {
    Key::of(READY).u32(id.0)
}

pub(super) fn ready(id: SubscriptionId, ordinal: Ordinal) -> Key {
    readies(id).u64(ordinal.0)
}

pub(super) fn deferreds(id: SubscriptionId, key: &str) -> Key {
    Key::of(DEFERRED).u32(id.0).text(key)
}

pub(super) fn deferred(id: SubscriptionId, key: &str, ordinal: Ordinal) -> Key {
    deferreds(id, key).u64(ordinal.0)
}

pub(super) fn blockers(id: SubscriptionId, key: &str) -> Key {
    Key::of(BLOCKER).u32(id.0).text(key)
}

pub(super) fn blocker(id: SubscriptionId, key: &str, ordinal: Ordinal) -> Key {
    blockers(id, key).u64(ordinal.0)
}

pub(super) fn all_dead() -> Key {
    Key::of(DEAD)
}

pub(super) fn deads(id: SubscriptionId) -> Key {
    Key::of(DEAD).u32(id.0)
}

pub(super) fn dead(id: SubscriptionId, seq: Seq) -> Key {
    deads(id).u64(seq.0)
}

pub(super) fn all_dead_groups() -> Key {
    Key::of(DEAD_GROUP)
}

pub(super) fn dead_groups(id: SubscriptionId) -> Key {
    Key::of(DEAD_GROUP).u32(id.0)
}

pub(super) fn dead_group(id: SubscriptionId, group: GroupId) -> Key {
    dead_groups(id).u64(group.0)
}

pub(super) fn dead_members(id: SubscriptionId, group: GroupId) -> Key {
    Key::of(DEAD_MEMBER).u32(id.0).u64(group.0)
}

pub(super) fn dead_member(id: SubscriptionId, group: GroupId, seq: Seq) -> Key {
    dead_members(id, group).u64(seq.0)
}

pub(super) fn state(id: SubscriptionId, key: &str) -> Key {
    Key::of(STATE).u32(id.0).text(key)
}

/// All states of a subscription.
pub(super) fn states(id: SubscriptionId) -> Key {
    Key::of(STATE).u32(id.0)
}

pub(super) fn effects(id: SubscriptionId, seq: Seq) -> Key {
    Key::of(EFFECT).u32(id.0).u64(seq.0)
}

pub(super) fn effect(id: SubscriptionId, seq: Seq, name: &str) -> Key {
    effects(id, seq).text(name)
}

pub(super) fn step_states(id: SubscriptionId, seq: Seq) -> Key {
    Key::of(STEP_STATES).u32(id.0).u64(seq.0)
}

pub(super) fn step_states_at(id: SubscriptionId, seq: Seq, commit: Commit) -> Key {
    step_states(id, seq).u64(commit.0)
}

pub(super) fn delayeds() -> Key {
    Key::of(DELAYED)
}

pub(super) fn delayed(due: u64, seq: Seq) -> Key {
    Key::of(DELAYED).u64(due).u64(seq.0)
}

pub(super) fn unrouteds() -> Key {
    Key::of(UNROUTED)
}

pub(super) fn unrouted(seq: Seq) -> Key {
    unrouteds().u64(!seq.0)
}

pub(super) fn filtereds(id: SubscriptionId) -> Key {
    Key::of(FILTERED).u32(id.0)
}

pub(super) fn filtered(id: SubscriptionId, seq: Seq) -> Key {
    filtereds(id).u64(!seq.0)
}

pub(super) fn deadlines() -> Key {
    Key::of(DEADLINE)
}

pub(super) fn deadline(at: u64, flow: &str) -> Key {
    Key::of(DEADLINE).u64(at).text(flow)
}

pub(super) fn shelf(shelf: Shelf) -> Key {
    Key::of(SHELF).byte(shelf.number())
}

/// A name stands in its key as it is, so that names with a common beginning stand together.
pub(super) fn kept(on: Shelf, name: &str) -> Key {
    let mut key = shelf(on);
    key.0.extend_from_slice(name.as_bytes());
    key
}

/// The name at the end of a key of a shelf.
pub(super) fn kept_name(key: &[u8]) -> Option<String> {
    key.get(2..).map(|name| String::from_utf8_lossy(name).into_owned())
}

/// All full chunks of a list of events, the newest first.
pub(super) fn listed(list: super::index::List<'_>) -> Key {
    let (word, text) = list.parts();
    Key::of(LISTED).byte(word).text(text)
}

/// The chunk of a list that begins with an event. Counted down, since rows are read forwards and people
/// want the newest first.
pub(super) fn listed_from(list: super::index::List<'_>, first: u64) -> Key {
    listed(list).u64(!first)
}

/// The chunk of a list that is not full yet.
pub(super) fn listed_open(list: super::index::List<'_>) -> Key {
    let (word, text) = list.parts();
    Key::of(LISTED_OPEN).byte(word).text(text)
}

pub(super) fn open_flows() -> Key {
    Key::of(OPEN_FLOW)
}

pub(super) fn dead_flows() -> Key {
    Key::of(DEAD_FLOW)
}

/// The row of a flow in an index of flows, or where those begin whose first event is no later.
pub(super) fn indexed(index: Key, first: u64) -> Key {
    index.u64(!first)
}

pub(super) fn audits() -> Key {
    Key::of(AUDIT)
}

pub(super) fn audit(seq: Seq) -> Key {
    Key::of(AUDIT).u64(u64::MAX - seq.0)
}

/// The event that a key of the audit stands for.
pub(super) fn audited(key: &[u8]) -> Option<Seq> {
    last_u64(key).map(|counted| Seq(u64::MAX - counted))
}

pub(in crate::store) fn places() -> Key {
    Key::of(PLACE)
}

pub(in crate::store) fn place(first: Seq) -> Key {
    Key::of(PLACE).u64(first.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_never_reaches_into_the_rows_of_another() {
        let id = SubscriptionId(1);
        let (short, end) = (deferreds(id, "a").bytes(), deferreds(id, "a").end());
        let longer = deferred(id, "ab", Ordinal(1)).bytes();
        let own = deferred(id, "a", Ordinal(u64::MAX)).bytes();

        assert!(own >= short && own < end);
        assert!(longer < short || longer >= end);
    }

    #[test]
    fn the_end_of_a_prefix_carries_over_full_bytes() {
        assert_eq!(Key(vec![1, 0xFF, 0xFF]).end(), vec![2]);
    }
}
