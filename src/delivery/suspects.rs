//! Suspects: found at the start, from what was under way when the process before ended.
//!
//! Every start leaves a record of the deliveries that will run first, with the count of settles; a clean end
//! takes it away. A start that finds the record, and no settle since, knows that the process died while some of
//! these were under way. After the third time they run alone, one by one, and before each it is written down
//! which. So the next death has a name. It is a verdict only when the same one was alone twice: a process that
//! somebody kills from outside, again and again, has always somebody who was alone.
//!
//! In between nothing is written: a delivery costs nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::store::{Ordinal, Seq};

/// Deaths after which what was under way runs alone.
const DEATHS: u32 = 3;
/// Deaths while it ran alone after which the process has died of an event.
const DEATHS_ALONE: u32 = 2;

/// The most deliveries in one record, so that it stays small.
pub const SUSPECTS_MAX: usize = 512;

/// What a start leaves for the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspectRecord {
    /// Settles of the subscription by then.
    pub settles: u64,
    /// The events that run first, with the deaths of the process that they were under way at.
    pub window: BTreeMap<u64, u32>,
    /// The event that runs alone, and the number of its attempt.
    pub alone: Option<(u64, u32)>,
    /// The event that ran alone at the death before this start, and its deaths alone by then.
    #[serde(default)]
    pub accused: Option<(u64, u32)>,
}

/// What a start has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suspicion {
    /// These run alone.
    pub suspects: Vec<Ordinal>,
    /// The process has died of this one.
    pub convicted: Option<Ordinal>,
    /// For the next start.
    pub record: SuspectRecord,
}

impl SuspectRecord {
    /// Reads a record; one that cannot be read is as none.
    pub fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    /// As it is stored.
    pub fn value(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

impl Suspicion {
    /// The record that says which attempt runs alone.
    pub(super) fn alone(&self, seq: Seq, attempt: u32) -> Bytes {
        SuspectRecord { alone: Some((seq.0, attempt)), ..self.record.clone() }.value()
    }
}

/// What the record of the start before says about the deliveries that will run first now.
///
/// `lives` tells whether the attempt of an event that ran alone has left no trace: its delivery is open and
/// none was recorded since.
pub fn examine(
    before: Option<SuspectRecord>,
    settles: u64,
    window: &[(Ordinal, Seq)],
    lives: impl FnOnce(Seq, u32) -> Option<Ordinal>,
) -> Suspicion {
    let alone = before.as_ref().and_then(|record| record.alone);
    let alone = alone.and_then(|(seq, attempt)| lives(Seq(seq), attempt).map(|at| (seq, at)));
    let accused = before.as_ref().and_then(|record| record.accused);
    let before = before.filter(|record| record.settles == settles);
    let mut suspicion =
        Suspicion { record: SuspectRecord { settles, ..SuspectRecord::default() }, ..Suspicion::default() };
    if let Some((seq, ordinal)) = alone {
        let deaths = accused.filter(|accused| accused.0 == seq).map_or(1, |(_, deaths)| deaths + 1);
        if deaths < DEATHS_ALONE {
            suspicion.suspects.push(ordinal);
            suspicion.record.accused = Some((seq, deaths));
        } else {
            suspicion.convicted = Some(ordinal);
        }
    }
    for &(ordinal, seq) in window.iter().take(SUSPECTS_MAX) {
        if alone.is_some_and(|(alone, _)| alone == seq.0) {
            continue;
        }
        // Who was alone clears the others. One that has come since the start before was there at the death.
        let deaths = match before.as_ref().filter(|_| alone.is_none()) {
            Some(record) => record.window.get(&seq.0).map_or(1, |deaths| deaths.saturating_add(1)),
            None => 0,
        };
        suspicion.record.window.insert(seq.0, deaths);
        if deaths >= DEATHS {
            suspicion.suspects.push(ordinal);
        }
    }
    suspicion
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: &[(Ordinal, Seq)] = &[(Ordinal(1), Seq(11)), (Ordinal(2), Seq(12))];

    fn again(found: &Suspicion, settles: u64) -> Suspicion {
        examine(SuspectRecord::read(&found.record.value()), settles, WINDOW, |_, _| None)
    }

    #[test]
    fn after_three_deaths_without_a_settle_they_run_alone() {
        let mut found = examine(None, 5, WINDOW, |_, _| None);
        for death in 1..=3 {
            assert_eq!(found.suspects, [], "before death {death}");
            found = again(&found, 5);
        }

        assert_eq!(found.suspects, [Ordinal(1), Ordinal(2)]);
    }

    #[test]
    fn a_settle_or_a_clean_end_in_between_clears_them() {
        let mut found = examine(None, 5, WINDOW, |_, _| None);
        found = again(&again(&found, 5), 5);
        found = again(&found, 6);
        assert_eq!(found.record.window.values().max(), Some(&0));

        for _ in 0..10 {
            found = examine(None, 6, WINDOW, |_, _| None);
            assert_eq!(found.suspects, []);
        }
    }

    #[test]
    fn the_one_that_was_alone_twice_is_convicted_if_it_has_left_no_trace() {
        let alone = |found: &Suspicion, n| SuspectRecord::read(&found.alone(Seq(n), 4));
        let found = examine(None, 5, WINDOW, |_, _| None);

        let ran = examine(alone(&found, 12), 5, WINDOW, |seq, attempt| {
            assert_eq!((seq, attempt), (Seq(12), 4));
            None
        });
        assert_eq!((ran.convicted, &ran.suspects[..]), (None, &[][..]));
        let once = examine(alone(&found, 12), 5, WINDOW, |_, _| Some(Ordinal(2)));
        assert_eq!((once.convicted, &once.suspects[..]), (None, &[Ordinal(2)][..]), "alone once more");
        let other = examine(alone(&once, 11), 5, WINDOW, |_, _| Some(Ordinal(1)));
        assert_eq!(
            (other.convicted, &other.suspects[..]),
            (None, &[Ordinal(1)][..]),
            "another one: from one on"
        );
        let twice = examine(alone(&once, 12), 5, WINDOW, |_, _| Some(Ordinal(2)));

        assert_eq!((twice.convicted, &twice.suspects[..]), (Some(Ordinal(2)), &[][..]));
        assert_eq!(twice.record.window.keys().collect::<Vec<_>>(), [&11], "the others start anew");
        assert_eq!(twice.record.accused, None);
    }

    #[test]
    fn whoever_is_accused_clears_those_that_were_under_way_before() {
        let mut found = examine(None, 5, WINDOW, |_, _| None);
        found = again(&again(&found, 5), 5);
        assert_eq!(found.record.window, BTreeMap::from([(11, 2), (12, 2)]));

        let accused =
            examine(SuspectRecord::read(&found.alone(Seq(12), 1)), 5, WINDOW, |_, _| Some(Ordinal(2)));

        assert_eq!(accused.record.window, BTreeMap::from([(11, 0)]));
        assert_eq!(accused.suspects, [Ordinal(2)]);
    }

    #[test]
    fn a_record_of_the_version_before_is_read() {
        let value = br#"{"settles":5,"window":{"11":1},"alone":[12,4]}"#;

        let record = SuspectRecord::read(value).unwrap();

        assert_eq!((record.alone, record.accused), (Some((12, 4)), None));
    }

    #[test]
    fn the_record_of_the_largest_window_fits() {
        let window: Vec<_> = (0..2_000).map(|n| (Ordinal(n), Seq(u64::MAX - n))).collect();
        let found = examine(None, u64::MAX, &window, |_, _| None);

        let value = found.alone(Seq(u64::MAX), u32::MAX);

        assert!(value.len() <= crate::store::Shelf::VALUE_MAX, "{}", value.len());
    }
}
