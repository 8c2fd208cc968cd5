//! `store`: what is on disk, looked at and mended while the server is stopped, or while it works.

mod compact;
mod export;
mod verify;

use super::args::StoreVerb;
use super::failure::{Exit, Failure};
use super::output::Output;
use crate::store::StoreError;

/// Runs the command.
pub(super) fn store(verb: &StoreVerb, output: Output) -> Result<Exit, Failure> {
    match verb {
        StoreVerb::Verify(args) => verify::verify(args, output),
        StoreVerb::Compact(args) => compact::compact(args, output),
        StoreVerb::Export(args) => export::export(args, output),
        StoreVerb::Import(args) => export::import(args, output),
    }
}

/// What kept a tool from its work, with the way out.
pub(super) fn could_not(error: &StoreError) -> Failure {
    Failure::Usage(if let StoreError::Locked { path } = error {
        let way_out = "stop it, or ask the running server: leave the folder out";
        format!("{}: a server uses this data folder\n  = {way_out}", path.display())
    } else {
        error.to_string()
    })
}
