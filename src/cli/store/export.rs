//! `store export` and `store import`: lines of JSON for people.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::could_not;
use crate::cli::args::{ExportArgs, ImportArgs};
use crate::cli::bar::watched;
use crate::cli::failure::{Exit, Failure};
use crate::cli::help::IMPORT;
use crate::cli::output::{Output, plural};
use crate::clock::Clock;
use crate::store::{Moved, export_folder, import as import_to};

/// Runs `export`.
pub(super) fn export(args: &ExportArgs, output: Output) -> Result<Exit, Failure> {
    let scratch = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let mut out: Box<dyn Write + Send> = match &args.file {
        None => Box::new(BufWriter::new(std::io::stdout())),
        Some(file) => {
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
            Box::new(BufWriter::new(made.map_err(|error| failed("create", file, &error))?))
        }
    };
    let moved = watched(|progress| export_folder(&args.dir, &scratch, &mut out, progress))?;
    let moved = moved.map_err(|error| could_not(&error))?;
    out.flush().map_err(|error| failed("write", args.file.as_deref().unwrap_or(Path::new("-")), &error))?;
    if args.file.is_some() {
        tell("exported", moved, output);
    }
    Ok(Exit::Done)
}

/// Runs `import`.
pub(super) fn import(args: &ImportArgs, output: Output) -> Result<Exit, Failure> {
    let now = Clock::wall().now();
    let file = std::fs::File::open(&args.file).map_err(|error| failed("read", &args.file, &error))?;
    let mut lines: Box<dyn BufRead + Send> = Box::new(BufReader::new(file));
    let moved = watched(|progress| import_to(&mut lines, &args.to, now, progress))?;
    tell("imported", moved.map_err(|error| could_not(&error))?, output);
    output.note(&format!("note: {}", IMPORT.replace('\n', " ")));
    Ok(Exit::Done)
}

fn tell(what: &str, moved: Moved, output: Output) {
    if output.is_json {
        output.document(&moved);
        return;
    }
    output.text(&format!(
        "{} {what} ({} without data, which is past retention), {} open deliveries, {}",
        plural(moved.events, "event"),
        moved.without_data,
        moved.open,
        plural(moved.states, "state"),
    ));
}

fn failed(action: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!("cannot {action} {}: {error}", path.display()))
}
