//! Files: how many connections the door may hold, so that the store is never without a file of its own.

use crate::http;

/// Files that the store, its checkpoints, backups and the steps may need at a time.
const RESERVED: usize = 128;
/// The share of the limit that is kept back where it is small.
const SHARE: usize = 4;

/// The most connections of one HTTP worker under the process's limit of open files.
///
/// With connections up to the limit the journal could not make its next segment, and a store that cannot write ends
/// the process. A connection beyond what this leaves waits in the operating system's queue until another one ends.
pub(super) fn connections(workers: usize) -> usize {
    under(&std::fs::read_to_string("/proc/self/limits").unwrap_or_default(), workers)
}

/// The same under the limits of this text.
fn under(limits: &str, workers: usize) -> usize {
    let most = http::Settings::default().max_connections;
    match open_files(limits) {
        Some(limit) => within(limit, workers).min(most),
        None => most,
    }
}

fn within(limit: usize, workers: usize) -> usize {
    let left = limit.saturating_sub(RESERVED).max(limit / SHARE);
    (left / workers.max(1)).max(1)
}

/// The limit of open files in the text of `/proc/self/limits`; `None` where there is none.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_keeps_files_back_from_the_door() {
        assert_eq!(within(1_024, 2), 448);
        assert_eq!(within(200, 2), 36);
        assert_eq!(within(64, 2), 8);
        assert_eq!(within(4, 8), 1);
        let text = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(
            (open_files(text), open_files("Max open files unlimited unlimited files")),
            (Some(1_024), None)
        );
        assert_eq!(open_files(""), None);
    }

    #[test]
    fn the_door_holds_what_the_limit_leaves_and_never_more_than_it_holds_by_default() {
        let limits = |files: &str| {
            format!("Max open files            {files}                 524288               files\n")
        };
        let most = http::Settings::default().max_connections;

        assert_eq!(under(&limits("1024"), 2), 448);
        assert_eq!(under(&limits("100000000"), 1), most);
        assert_eq!(under(&limits("unlimited"), 1), most);
        assert_eq!(under("", 1), most);
        // Of this process: so many workers share its files that each has the least.
        let is_limited =
            open_files(&std::fs::read_to_string("/proc/self/limits").unwrap_or_default()).is_some();
        assert_eq!(connections(usize::MAX), if is_limited { 1 } else { most });
    }
}
