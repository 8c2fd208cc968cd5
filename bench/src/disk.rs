//! What the disk itself can do: a plain file, appended and synced.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use tidegate::clock::Stopwatch;

use crate::Outcome;
use crate::app::Load;

/// A plain file that only grows.
#[derive(Debug)]
pub(crate) struct Appended {
    file: File,
    group: Vec<u8>,
    next: u64,
}

impl Appended {
    /// A new file in `folder`.
    pub(crate) fn new(folder: &Path) -> Outcome<Self> {
        let path = folder.join("appended");
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file, group: Vec::new(), next: 0 })
    }

    /// Appends the payloads of `size` events with one write and one fdatasync; says how many microseconds that took.
    pub(crate) fn group(&mut self, size: u64) -> Outcome<f64> {
        self.group.clear();
        for _ in 0..size {
            self.group.extend(Load::new(self.next, false).json());
            self.next += 1;
        }
        let begin = Stopwatch::start();
        self.file.write_all(&self.group)?;
        self.file.sync_data()?;
        Ok(begin.elapsed().as_secs_f64() * 1e6)
    }

    /// Events a second in groups of `size`, over about `seconds`; the time to make the payloads does not count.
    pub(crate) fn rate(&mut self, size: u64, seconds: f64) -> Outcome<f64> {
        let (mut events, mut micros) = (0, 0.0);
        while micros < seconds * 1e6 {
            micros += self.group(size)?;
            events += size;
        }
        Ok(events as f64 * 1e6 / micros)
    }
}
