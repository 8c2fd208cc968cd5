//! `store compact`: sled's file never shrinks by itself.

use super::could_not;
use crate::cli::args::CompactArgs;
use crate::cli::bar::watched;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Output, plural};
use crate::clock::Clock;
use crate::store::compact_folder;

/// Runs the command.
pub(super) fn compact(args: &CompactArgs, output: Output) -> Result<Exit, Failure> {
    let now = Clock::wall().now();
    let done =
        watched(|progress| compact_folder(&args.dir, now, progress))?.map_err(|error| could_not(&error))?;
    if output.is_json {
        output.document(&done);
    } else {
        let (rows, before, after) = (plural(done.rows, "row"), done.before >> 20, done.after >> 20);
        output.text(&if done.after < done.before {
            format!("{rows} copied, sled has {after} MiB, it had {before} MiB")
        } else {
            format!("{rows} in {before} MiB: a fresh sled would be no smaller, the old one stays")
        });
    }
    Ok(Exit::Done)
}
