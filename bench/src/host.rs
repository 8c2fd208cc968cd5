//! What the host of a virtual machine has a hand in: processor time that it takes away, and memory that it takes back. Figures of
//! two hours are no use beside each other without both.
//!
//! Linux tells a host that asks for it which pieces of 2 MiB are free (free page reporting of the balloon, `mm/page_reporting.c`),
//! and the host takes them back. Who touches such a page first waits until it is given again: 3 to 18 us were measured for 4 KiB
//! that take 0.3 us otherwise. A measure that writes files and grows touches hundreds of thousands of them, and pays
//! for what its machine has done before. On a machine that has run for days memory is full of pages of files, and little is
//! taken back; so it is made here, as far as the kernel keeps such pages.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use tidegate::clock::Stopwatch;

use crate::Outcome;
use crate::process::field;

/// Memory that stays free: a few times what the kernel keeps anyway.
const LEFT: u64 = 256 << 20;
const PAGE: u64 = 4_096;

/// Processor time of the whole machine until a moment, in ticks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ticks {
    stolen: u64,
    all: u64,
}

impl Ticks {
    /// Until now.
    pub(crate) fn now() -> Self {
        Self::read(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    fn read(stat: &str) -> Self {
        // user nice system idle iowait irq softirq steal; guest time is in user time already.
        let all = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
        let ticks: Vec<u64> = all.filter_map(|ticks| ticks.parse().ok()).collect();
        Self { stolen: ticks.get(7).copied().unwrap_or_default(), all: ticks.iter().sum() }
    }

    /// The share of all processor time that the host has given to others since `before`.
    pub(crate) fn stolen_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        self.stolen.saturating_sub(before.stolen) as f64 / all as f64
    }
}

/// Memory that is full of pages of files, and may be had again at once, as long as this is held.
#[derive(Debug, Default)]
pub(crate) struct Full(Vec<File>);

/// What was filled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filled {
    /// So many bytes were free.
    pub(crate) bytes: u64,
    /// What each of 4 KiB took to be touched, in microseconds.
    pub(crate) page: f64,
}

impl Full {
    /// Fills the memory that is free by reading a file of holes in `folder`, which takes no room there. Again before each
    /// measure: what the one before has had is free since.
    pub(crate) fn fill(&mut self, folder: &Path) -> Outcome<Filled> {
        let free = field(&fs::read_to_string("/proc/meminfo")?, "MemFree:") * 1024;
        self.read_holes(free.saturating_sub(LEFT), folder)
    }

    fn read_holes(&mut self, bytes: u64, folder: &Path) -> Outcome<Filled> {
        let mut file = tempfile::tempfile_in(folder)?;
        file.set_len(bytes)?;
        let (begin, mut piece) = (Stopwatch::start(), vec![0; 1 << 20]);
        while file.read(&mut piece)? > 0 {}
        let page = begin.elapsed().as_secs_f64() * 1e6 / (bytes / PAGE).max(1) as f64;
        self.0.push(file);
        Ok(Filled { bytes, page })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stolen_is_a_share_of_all_ticks() {
        let before = Ticks::read("cpu  10 0 10 70 0 0 0 10 5 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n");
        let after = Ticks::read("cpu  20 10 20 90 10 5 5 40 9 0\n");

        assert_eq!((before.all, after.all), (100, 200), "guest time is no time of its own");
        assert!((after.stolen_since(before) - 0.3).abs() < 1e-9);
        assert!(Ticks::read("").stolen_since(before).abs() < 1e-9);
    }

    #[test]
    fn memory_is_filled_by_a_file_that_takes_no_room() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();

        let mut full = Full::default();
        let filled = full.read_holes(8 << 20, folder.path()).unwrap();

        let file = full.0[0].metadata().unwrap();
        assert_eq!((filled.bytes, file.len(), file.blocks()), (8 << 20, 8 << 20, 0));
        assert!(filled.page > 0.0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "it goes with whoever holds it");
    }
}
