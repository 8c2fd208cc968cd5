//! Fail points: the places of the write path where a test lets the process die (feature `failpoints`).
//!
//! Each place says that it was reached; without the feature that is nothing at all. With it, a process that
//! was told to dies there at once, as by a failed power supply of its own: no destructor runs, nothing is
//! flushed. What the operating system has taken stays. `soak/` goes through all of [`Point::ALL`].

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!("the feature `failpoints` is for tests: build without `--release`, or without the feature");

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

macro_rules! points {
    ($($point:ident $name:literal $what:literal;)*) => {
        /// A place of the write path.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Point {
            $(#[doc = $what] $point,)*
        }

        impl Point {
            /// All of them, in the order of a write's way.
            pub const ALL: &[Self] = &[$(Self::$point,)*];

            /// Its name, as tests are told it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$point => $name,)* }
            }
        }
    };
}

points! {
    BeforeStage "before-stage" "A group has come to the committer.";
    Staged "staged" "It is applied in memory.";
    BeforeWrite "before-write" "Before the journal's write.";
    MidWrite "mid-write" "When half of it is written.";
    Written "written" "Before the journal's sync.";
    Synced "synced" "After it.";
    BeforeAnswer "before-answer" "On disk; nobody has been told.";
    BetweenAnswers "between-answers" "Subscriptions have been told, publishers not.";
    Answered "answered" "Everybody has been told.";
    SegmentAllocated "segment-allocated" "A new journal file has its room.";
    SegmentHeaded "segment-headed" "And its header.";
    SegmentSynced "segment-synced" "And is synced, under its preliminary name.";
    SegmentRenamed "segment-renamed" "It has its name; the folder is not synced.";
    SegmentPublished "segment-published" "The folder is synced.";
    BeginSynced "begin-synced" "Where the journal begins is synced, under a preliminary name.";
    BeginRenamed "begin-renamed" "It has its name; the folder is not synced.";
    BeginPublished "begin-published" "The folder is synced.";
    BeginMoved "begin-moved" "It is written anew before a journal file goes; not synced.";
    SegmentRemoving "segment-removing" "Before an old journal file is removed.";
    SegmentRemoved "segment-removed" "After it; the folder is not synced.";
    SegmentGone "segment-gone" "The folder is synced.";
    CheckpointFrozen "checkpoint-frozen" "The rows of a checkpoint are frozen.";
    FoldFileBegun "fold-file-begun" "Some rows are in the fold file.";
    FoldFileSynced "fold-file-synced" "The fold file is synced, under its preliminary name.";
    FoldFileRenamed "fold-file-renamed" "It has its name; the folder is not synced.";
    FoldFilePublished "fold-file-published" "The folder is synced.";
    MarkSynced "mark-synced" "A mark is synced, under its preliminary name.";
    MarkRenamed "mark-renamed" "It has its name; the folder is not synced.";
    MarkPublished "mark-published" "The folder is synced.";
    FoldRow "fold-row" "A page of the checkpoint is in sled, not synced.";
    FoldStamped "fold-stamped" "All rows and the stamp are in sled, not synced.";
    FoldFlushed "fold-flushed" "sled has flushed; its file is not synced.";
    FoldSynced "fold-synced" "sled is synced; the mark still names the fold file.";
    FoldFileRemoving "fold-file-removing" "The mark is new; the fold file is there.";
    FoldFileRemoved "fold-file-removed" "And it is removed.";
    TailCut "tail-cut" "At a start: a torn write is zeroed, not synced.";
    TailRewritten "tail-rewritten" "At a start: the records of the last write are written again, not synced.";
    Recovered "recovered" "At a start: everything is replayed.";
    Closing "closing" "At an orderly end: before the seal.";
}

/// Says that a place was reached. The process may die here.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) const fn reach(_: Point) {}

#[cfg(feature = "failpoints")]
pub(crate) use armed::reach;
#[cfg(feature = "failpoints")]
pub use armed::{arm, reached};

/// Says that a file beside `path` is about to get this name (0), has got it (1), or has it for good (2).
pub(crate) fn reach_naming(path: &Path, stage: usize) {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let points = match extension {
        Some("journal") => [Point::SegmentSynced, Point::SegmentRenamed, Point::SegmentPublished],
        Some("begin") => [Point::BeginSynced, Point::BeginRenamed, Point::BeginPublished],
        Some("mark") => [Point::MarkSynced, Point::MarkRenamed, Point::MarkPublished],
        _ => [Point::FoldFileSynced, Point::FoldFileRenamed, Point::FoldFilePublished],
    };
    points.get(stage).copied().into_iter().for_each(reach);
}

/// Writes all of it, with a place in the middle.
pub(crate) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    if cfg!(feature = "failpoints") {
        let (half, rest) = bytes.split_at(bytes.len() / 2);
        file.write_all_at(half, offset)?;
        reach(Point::MidWrite);
        return file.write_all_at(rest, offset + half.len() as u64);
    }
    file.write_all_at(bytes, offset)
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::{Mutex, PoisonError};

    use super::Point;

    /// How often each point was reached, and the one to die at with the number of times to pass it.
    #[derive(Debug)]
    struct Armed {
        counts: Vec<(Point, u64)>,
        fatal: Option<(Point, u64)>,
    }

    static ARMED: Mutex<Armed> = Mutex::new(Armed { counts: Vec::new(), fatal: None });

    /// Lets this process die when it reaches `point` for the time after `passes`.
    pub fn arm(point: Point, passes: u64) {
        ARMED.lock().unwrap_or_else(PoisonError::into_inner).fatal = Some((point, passes));
    }

    /// The points that were reached so far, and how often.
    pub fn reached() -> Vec<(Point, u64)> {
        ARMED.lock().unwrap_or_else(PoisonError::into_inner).counts.clone()
    }

    /// Says that a place was reached. The process may die here.
    pub(crate) fn reach(point: Point) {
        let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
        match armed.counts.iter_mut().find(|(known, _)| *known == point) {
            Some((_, count)) => *count += 1,
            None => armed.counts.push((point, 1)),
        }
        match &mut armed.fatal {
            Some((fatal, passes)) if *fatal == point && *passes == 0 => std::process::abort(),
            Some((fatal, passes)) if *fatal == point => *passes -= 1,
            _ => {}
        }
    }
}
