//! The oracle: what was acknowledged, and which effects the steps had, in files of their own.
//!
//! Both lie on another file system than the store under test. A line is written and synced after the answer
//! was there (record) or before the step ends (ledger), so that what stands in a file has really happened. A
//! last line without its end was never taken for true and is passed over.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Outcome;

/// An event that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acked {
    /// Its id: its key and its number.
    pub(crate) id: String,
    /// Its key. Numbers of a key ascend in the order of acknowledgement.
    pub(crate) key: String,
    /// Its number.
    pub(crate) n: u64,
    /// Bytes of its payload.
    pub(crate) size: usize,
    /// Whether only the paused subscription hears it.
    pub(crate) later: bool,
    /// When it was handed in, in nanoseconds since 1970.
    pub(crate) began: u64,
}

/// An effect that a step had outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Effect {
    /// The subscription.
    pub(crate) subscription: String,
    /// The effect key that the bus gave.
    pub(crate) token: String,
    /// The event.
    pub(crate) id: String,
    /// Its key.
    pub(crate) key: String,
    /// Its number.
    pub(crate) n: u64,
}

/// A file of lines that are on disk when [`Lines::add`] returns.
#[derive(Debug)]
pub(crate) struct Lines(Mutex<File>);

impl Lines {
    /// Opens the file, and makes it durable that it exists.
    pub(crate) fn open(path: &Path) -> Outcome<Self> {
        // The line that the last process did not end would spoil the next one.
        let whole = whole(&std::fs::read(path).unwrap_or_default()).len() as u64;
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.set_len(whole)?;
        file.sync_all()?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(Self(Mutex::new(file)))
    }

    /// Adds lines, and returns when they are on disk.
    pub(crate) fn add<T: Serialize>(&self, all: &[T]) -> Outcome<()> {
        let mut bytes = Vec::new();
        for line in all {
            serde_json::to_writer(&mut bytes, line)?;
            bytes.push(b'\n');
        }
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&bytes)?;
        file.sync_data()?;
        Ok(())
    }
}

/// Reads a file of lines; a missing one has none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Outcome<Vec<T>> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let lines = whole(&bytes).split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| Ok(serde_json::from_slice(line)?)).collect()
}

/// What comes before the last end of a line.
fn whole(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    bytes.get(..end).unwrap_or_default()
}

/// The ledger that steps write their effects to: one for each effect key, as a payment service would have it.
#[derive(Debug)]
pub(crate) struct Ledger {
    lines: Lines,
    known: Mutex<BTreeSet<String>>,
}

impl Ledger {
    /// Opens it with what it holds.
    pub(crate) fn open(path: &Path) -> Outcome<Self> {
        let lines = Lines::open(path)?;
        let known = read::<Effect>(path)?.into_iter().map(|effect| effect.token).collect();
        Ok(Self { lines, known: Mutex::new(known) })
    }

    /// Enters an effect unless its key is there already; on disk when it returns.
    pub(crate) fn enter(&self, effect: &Effect) -> Outcome<()> {
        let is_new = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(effect.token.clone())
        };
        if is_new { self.lines.add(std::slice::from_ref(effect)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_its_end_is_passed_over_and_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        std::fs::write(&path, "1\n2\n3").unwrap();

        assert_eq!(read::<u64>(&path).unwrap(), [1, 2]);
        Lines::open(&path).unwrap().add(&[4]).unwrap();

        assert_eq!(read::<u64>(&path).unwrap(), [1, 2, 4]);
    }

    #[test]
    fn one_effect_key_is_one_line_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let effect = Effect {
            subscription: "keep".into(),
            token: "e".into(),
            id: "k0-1".into(),
            key: "k0".into(),
            n: 1,
        };

        for _ in 0..2 {
            let ledger = Ledger::open(&path).unwrap();
            ledger.enter(&effect).unwrap();
            ledger.enter(&effect).unwrap();
        }

        assert_eq!(read::<Effect>(&path).unwrap(), [effect]);
    }
}
