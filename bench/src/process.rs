//! What the kernel counts for a process: memory, CPU time, wake-ups, bytes written. Read from `/proc`, so that
//! a server in another process is counted as this one is.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Outcome;

/// Clock ticks a second in `/proc/<pid>/stat`: a constant of Linux's interface.
const TICKS: f64 = 100.0;

/// The counters of one process at one moment.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// CPU time of all its threads, ended ones too, in seconds.
    pub(crate) cpu: f64,
    /// Times its living threads went to sleep by themselves.
    pub(crate) sleeps: u64,
    /// Bytes that it gave to calls that write (`wchar`: files, and little else here). The kernel's count of what goes to disks (`write_bytes`) is of no use
    /// here: a record in a file that was written in large pieces before counts as the whole piece.
    pub(crate) written: u64,
}

impl Counters {
    /// Those of a process; `None` means this one.
    pub(crate) fn of(pid: Option<u32>) -> Outcome<Self> {
        let process = folder(pid);
        let stat = fs::read_to_string(format!("{process}/stat"))?;
        // The name in brackets may hold spaces; user and system time are the 12th and 13th word behind it.
        let words: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| words.get(at).and_then(|word| word.parse::<f64>().ok()).unwrap_or_default();
        let mut sleeps = 0;
        for thread in fs::read_dir(format!("{process}/task"))? {
            // A thread that has just ended has no status any more.
            let status = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
            sleeps += field(&status, "voluntary_ctxt_switches:");
        }
        let io = fs::read_to_string(format!("{process}/io")).unwrap_or_default();
        Ok(Self { cpu: (ticks(11) + ticks(12)) / TICKS, sleeps, written: field(&io, "wchar:") })
    }

    /// What has happened since `before`, for each of `events`.
    pub(crate) fn per_event(self, before: Self, events: u64) -> PerEvent {
        let events = events.max(1) as f64;
        PerEvent {
            cpu_us: (self.cpu - before.cpu) * 1e6 / events,
            sleeps: self.sleeps.saturating_sub(before.sleeps) as f64 / events,
            written: self.written.saturating_sub(before.written) as f64 / events,
        }
    }
}

/// What one event costs.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct PerEvent {
    /// CPU time in microseconds.
    pub(crate) cpu_us: f64,
    /// Voluntary context switches.
    pub(crate) sleeps: f64,
    /// Bytes given to calls that write.
    pub(crate) written: f64,
}

/// Bytes of memory that a process holds now; `None` means this one.
pub(crate) fn resident(pid: Option<u32>) -> u64 {
    status(pid, "VmRSS:") * 1024
}

/// The most bytes of memory that it has ever held.
pub(crate) fn resident_peak(pid: Option<u32>) -> u64 {
    status(pid, "VmHWM:") * 1024
}

/// Bytes that a folder takes on its disk.
pub(crate) fn disk_bytes(folder: &Path) -> Outcome<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // A segment may be removed while this looks.
        let Ok(found) = entry.metadata() else { continue };
        sum += if found.is_dir() { disk_bytes(&entry.path())? } else { found.blocks() * 512 };
    }
    Ok(sum)
}

/// The machine as a person calls it: processors, model, system.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let release = read("/proc/sys/kernel/osrelease");
    format!("{cores} x {}, Linux {}", model.trim_start_matches([' ', '\t', ':']), release.trim())
}

/// How many threads wanted to run in the last minute, on average.
pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().next().unwrap_or("?").to_owned()
}

fn status(pid: Option<u32>, name: &str) -> u64 {
    let text = fs::read_to_string(format!("{}/status", folder(pid))).unwrap_or_default();
    field(&text, name)
}

fn folder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "/proc/self".to_owned(), |pid| format!("/proc/{pid}"))
}

/// The number behind `name`, which begins a line; 0 when it is not there.
pub(crate) fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_the_beginning_of_its_line() {
        let status = "nonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t3\nVmRSS:\t  12 kB\n";

        assert_eq!(field(status, "voluntary_ctxt_switches:"), 3);
        assert_eq!(field(status, "VmRSS:"), 12);
        assert_eq!(field(status, "VmSwap:"), 0);
    }

    #[test]
    fn this_process_has_memory_and_has_used_time() {
        assert!(resident(None) > 0);
        assert!(Counters::of(None).is_ok());
    }
}
