//! Event rows: an event's bookkeeping as it is held and as it is written.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::grown::{self, Grown};
use super::spelled::{Spelled, Spelling};
use crate::event::{EventName, Label, Timestamp};
use crate::store::{Commit, Deliveries, DeliveryRecord, EventRecord, Seq, SubscriptionId};

/// An event's bookkeeping with what readers do not see.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct EventRow {
    #[serde(serialize_with = "write_record", deserialize_with = "read_record")]
    pub(super) record: EventRecord,
    pub(super) due: Option<Timestamp>,
    /// Subscriptions with journaled results for it.
    pub(super) effects: Vec<SubscriptionId>,
    #[serde(skip)]
    pub(super) more: EventMore,
}

/// What version 1 did not have, behind the event's own key, which is in its label.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct EventMore {
    /// Subscriptions whose `where` has kept it out.
    pub(super) filtered: Vec<SubscriptionId>,
    /// The last replay of each delivery that was replayed.
    pub(super) generations: Vec<(SubscriptionId, u32)>,
    /// Whether it belongs to the undoing of its flow.
    pub(super) is_undo: bool,
    /// Subscriptions whose states before and after an attempt are kept with it.
    pub(super) stated: Vec<SubscriptionId>,
    #[serde(skip)]
    pub(super) last: EventLast,
}

/// What format 2 of the folder did not have.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct EventLast {
    /// The first event of its flow, under which the flow stands; 0 where format 2 has written it.
    pub(super) flow: Seq,
}

impl Grown for EventMore {
    type More = EventLast;
    fn more(&self) -> &EventLast {
        &self.last
    }
    fn more_mut(&mut self) -> &mut EventLast {
        &mut self.last
    }
}

impl Grown for EventRow {
    type More = EventMore;
    fn more(&self) -> &EventMore {
        &self.more
    }
    fn more_mut(&mut self) -> &mut EventMore {
        &mut self.more
    }
    fn read_more(&mut self, bytes: &[u8]) -> Result<(), postcard::Error> {
        let (key, rest) = postcard::take_from_bytes(bytes)?;
        Arc::make_mut(&mut self.record.label).key = key;
        self.more = grown::decode(rest)?;
        Ok(())
    }
    fn write_more(&self, bytes: Vec<u8>) -> Result<Vec<u8>, postcard::Error> {
        grown::encode(&self.more, postcard::to_extend(&self.record.key, bytes)?)
    }
}

/// A record as rows have it, whose ids may stand spelled since format 6.
#[derive(Serialize)]
struct Written<'a> {
    seq: Seq,
    commit: Commit,
    id: Spelled<'a>,
    source: &'a str,
    name: &'a EventName,
    flow: Spelled<'a>,
    causation: Option<Spelled<'a>>,
    time: Timestamp,
    acknowledged: Timestamp,
    deliveries: &'a [DeliveryRecord],
}

/// The same, as it is read.
#[derive(Deserialize)]
struct Read {
    seq: Seq,
    commit: Commit,
    id: Spelling,
    source: String,
    name: EventName,
    flow: Spelling,
    causation: Option<Spelling>,
    time: Timestamp,
    acknowledged: Timestamp,
    deliveries: Deliveries,
}

fn write_record<S: Serializer>(record: &EventRecord, serializer: S) -> Result<S::Ok, S::Error> {
    let label = &*record.label;
    let written = Written {
        seq: record.seq,
        commit: record.commit,
        id: Spelled(&label.id),
        source: &label.source,
        name: &label.name,
        flow: Spelled(&label.flow),
        causation: label.causation.as_deref().map(Spelled),
        time: label.time,
        acknowledged: record.acknowledged,
        deliveries: &record.deliveries,
    };
    written.serialize(serializer)
}

fn read_record<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EventRecord, D::Error> {
    let Read { seq, commit, id, source, name, flow, causation, time, acknowledged, deliveries } =
        Read::deserialize(deserializer)?;
    let (id, flow, causation) = (id.0, flow.0, causation.map(|id| id.0));
    let label = Arc::new(Label { id, source, name, time, key: String::new(), flow, causation });
    Ok(EventRecord { seq, commit, label, acknowledged, deliveries, filtered: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row with ids of these kinds and nothing else.
    fn row((id, flow, causation): (&str, &str, &str), key: &str) -> EventRow {
        let label = Label {
            id: id.to_owned(),
            source: "/s".to_owned(),
            name: EventName::new("a.b").unwrap(),
            time: Timestamp(5),
            key: key.to_owned(),
            flow: flow.to_owned(),
            causation: Some(causation.to_owned()),
        };
        let record = EventRecord {
            seq: Seq(2),
            commit: Commit(3),
            label: Arc::new(label),
            acknowledged: Timestamp(6),
            deliveries: Deliveries::new(),
            filtered: Vec::new(),
        };
        EventRow { record, due: None, effects: Vec::new(), more: EventMore::default() }
    }

    #[test]
    fn ids_that_spell_bytes_stand_as_those_in_a_row() {
        let flow = "00112233445566778899aabbccddeeff";
        let ids = ("00112233-4455-6677-8899-aabbccddeeff", flow, "ffffffffffffffffffffffffffffffff");
        let row = row(ids, "");

        let bytes = grown::encode(&row, Vec::new()).unwrap();

        let spelled: Vec<u8> = (0..16).map(|n| 17 * n).collect();
        let expected = [
            &b"\x02\x03\x11\xFE"[..],
            &spelled,
            b"\x02/s\x03a.b\x11\xFF",
            &spelled,
            b"\x01\x11\xFF",
            &[0xFF; 16],
            b"\x05\x06\x00\x00\x00",
            b"\x00\x00\x00\x00\x00\x00",
        ];
        assert_eq!(bytes, expected.concat());
        assert_eq!(grown::decode::<EventRow>(&bytes).unwrap().record, row.record);
    }

    #[test]
    fn the_bytes_of_a_row_never_change() {
        let more = EventMore { filtered: vec![SubscriptionId(7)], is_undo: true, ..EventMore::default() };
        let plain = row(("1", "f", "c"), "k");
        let row = EventRow { due: Some(Timestamp(8)), effects: vec![SubscriptionId(9)], more, ..plain };

        let bytes = grown::encode(&row, Vec::new()).unwrap();

        // The record, what is due, the effects; the key, what is filtered, generations, undo, states; the flow's first event.
        let expected = [
            &b"\x02\x03\x011\x02/s\x03a.b\x01f\x01\x01c\x05\x06\x00"[..],
            b"\x01\x08\x01\x09",
            b"\x01k\x01\x07\x00\x01\x00\x00",
        ];
        assert_eq!(bytes, expected.concat());
        let again: EventRow = grown::decode(&bytes).unwrap();
        assert_eq!((again.record, again.due, again.more.is_undo), (row.record, row.due, true));
        // As version 1 wrote it.
        let old: EventRow = grown::decode(expected[..2].concat().as_slice()).unwrap();
        assert_eq!((&*old.record.id, &*old.record.key), ("1", ""));
    }
}
