//! Old keys: where earlier formats kept rows. Names of flows stay there until their flows go; a start moves the others ([`super::super::old_flows`], [`super::super::old_lists`]).

use super::{Key, LISTED, LISTED_OPEN};
use crate::store::view::flow_index::FlowName;

/// Version 2 and before: (flow): its head.
const OLD_FLOW: u8 = 0x30;
/// Version 2 and before: (flow, chunk): numbers of its events.
const OLD_FLOW_CHUNK: u8 = 0x31;
/// Version 2 and before: (flow): its result.
const OLD_FLOW_RESULT: u8 = 0x32;
/// Version 2 and before: (flow, place): an event that undoes a step of the flow.
const OLD_UNDO: u8 = 0x34;
/// Format 2 of the folder: (bucket, flow): its head.
const BUCKET_FLOW: u8 = 0x36;
/// Format 6 of the folder: (bucket, name of a flow): its first event.
const BUCKET_NAME: u8 = 0x3B;
/// Format 4 of the folder: (word, text, first event number counted down, or 0): what is in the two tables of lists.
const OLD_LISTED: u8 = 0xC0;

/// Flows as format 2 of the folder kept them.
pub(in super::super) fn bucket_flows() -> Key {
    Key::of(BUCKET_FLOW)
}

/// Names of flows as format 6 of the folder kept them.
pub(in super::super) fn names() -> Key {
    Key::of(BUCKET_NAME)
}

/// Those of one bucket.
pub(in super::super) fn names_of(bucket: u32) -> Key {
    names().u32(bucket)
}

/// Where format 6 of the folder kept the name of a flow.
pub(in super::super) fn flow_name(bucket: u32, name: FlowName) -> Key {
    names_of(bucket).name(name)
}

/// Flows as version 2 and before kept them.
pub(in super::super) fn old_flows() -> Key {
    Key::of(OLD_FLOW)
}

/// What belongs to such a flow: its chunks, result, and undos.
pub(in super::super) fn of_old_flow(flow: &[u8]) -> [Key; 3] {
    [OLD_FLOW_CHUNK, OLD_FLOW_RESULT, OLD_UNDO].map(|table| {
        let mut key = Key::of(table);
        key.0.extend_from_slice(flow.get(1..).unwrap_or_default());
        key
    })
}

/// Lists as format 4 of the folder kept them.
pub(in super::super) fn old_lists() -> Key {
    Key::of(OLD_LISTED)
}

/// Where a chunk of [`old_lists`] stands now.
pub(in super::super) fn moved_list(old: &[u8]) -> Key {
    let list = old.get(1..).unwrap_or_default();
    match list.split_last_chunk::<8>() {
        Some((list, [0, 0, 0, 0, 0, 0, 0, 0])) => Key([&[LISTED_OPEN], list].concat()),
        _ => Key([&[LISTED], list].concat()),
    }
}
