//! `backup` and `restore`: the whole store in one file, and back.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::args::{BackupArgs, RestoreArgs};
use super::bar::{Stages, watched};
use super::client::Client;
use super::failure::{Exit, Failure};
use super::output::{Output, clean, plural};
use super::store::could_not;
use crate::clock::Clock;
use crate::store::{Manifest, backup_folder, check_backup, restore as restore_to};

/// Bytes taken from the server at a time.
const PIECE: usize = 256 << 10;

#[derive(Serialize)]
struct Told<'a> {
    file: &'a Path,
    bytes: u64,
    #[serde(flatten)]
    manifest: &'a Manifest,
}

/// Runs `backup`.
pub(super) fn backup(args: &BackupArgs, output: Output) -> Result<Exit, Failure> {
    let file = target(&args.file)?;
    let part = Part::create(&file)?;
    match &args.offline {
        Some(dir) => offline(dir, args.scratch.as_deref(), &part)?,
        None => {
            online(args, &part)
                .map_err(|failure| failure.or_offline("tidegate backup FILE --offline DIR"))?;
        }
    }
    // What is on disk now is what a restore will read: that is what has to be whole.
    let manifest =
        watched(|progress| check_backup(&part.path, progress))?.map_err(|error| could_not(&error))?;
    part.publish(&file)?;
    tell("backed up to", &file, &manifest, output);
    Ok(Exit::Done)
}

/// Runs `restore`.
pub(super) fn restore(args: &RestoreArgs, output: Output) -> Result<Exit, Failure> {
    let manifest = match &args.to {
        None => watched(|progress| check_backup(&args.file, progress))?,
        Some(to) => watched(|progress| restore_to(&args.file, to, progress))?,
    };
    let manifest = manifest.map_err(|error| could_not(&error))?;
    match &args.to {
        None => tell("whole:", &args.file, &manifest, output),
        Some(to) => tell("restored to", to, &manifest, output),
    }
    Ok(Exit::Done)
}

fn tell(what: &str, place: &Path, manifest: &Manifest, output: Output) {
    let bytes = manifest.parts.iter().map(|part| part.bytes).sum();
    if output.is_json {
        output.document(&Told { file: place, bytes, manifest });
        return;
    }
    let mut text = format!(
        "{what} {}\nmade {} by tidegate {}, commit {}, {} stored so far, {} bytes",
        place.display(),
        manifest.made,
        manifest.tidegate,
        manifest.commit,
        plural(manifest.events, "event"),
        bytes,
    );
    for one in &manifest.subscriptions {
        // Writing into a text cannot fail.
        let _is_written = write!(
            text,
            "
  {}: backlog {}, dead letters {}",
            one.name, one.backlog, one.dead
        )
        .is_ok();
    }
    output.text(&clean(&text));
}

fn offline(dir: &Path, scratch: Option<&Path>, part: &Part) -> Result<(), Failure> {
    let scratch = scratch.map_or_else(std::env::temp_dir, Path::to_owned);
    let now = Clock::wall().now();
    let mut out = BufWriter::new(&part.file);
    let made = watched(|progress| backup_folder(dir, &scratch, now, &mut out, progress))?;
    made.map(drop).map_err(|error| could_not(&error))
}

fn online(args: &BackupArgs, part: &Part) -> Result<(), Failure> {
    let client = Client::new(&args.server)?;
    let mut body = client.stream("/v1/store/backup")?;
    let stages = Stages::new();
    let (mut piece, mut taken) = (vec![0; PIECE], 0_u64);
    loop {
        let read = match body.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(client.broken(&error)),
        };
        let bytes = piece.get(..read).unwrap_or_default();
        (&part.file).write_all(bytes).map_err(|error| failed("write", &part.path, &error))?;
        taken += read as u64;
        stages.show(&format!("backup, {} MiB", taken >> 20), 0, 0);
    }
}

/// The file that is meant: in a folder, one that is named after the time.
fn target(named: &Path) -> Result<PathBuf, Failure> {
    let file = if named.is_dir() {
        let time: String =
            Clock::wall().now().to_string().chars().filter(|c| !matches!(c, ':' | '-')).collect();
        named.join(format!("tidegate-{time}.backup"))
    } else {
        named.to_owned()
    };
    if file.exists() {
        return Err(Failure::Usage(format!(
            "{} is there already; a backup never replaces another one",
            file.display()
        )));
    }
    Ok(file)
}

/// A backup that has not its name yet; removed when nothing comes of it.
struct Part {
    file: File,
    path: PathBuf,
}

impl Part {
    fn create(target: &Path) -> Result<Self, Failure> {
        let mut name = target.as_os_str().to_owned();
        name.push(".part");
        let path = PathBuf::from(name);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.map_err(|error| failed("create", &path, &error))?;
        Ok(Self { file, path })
    }

    /// Gives it its name, durably.
    fn publish(&self, target: &Path) -> Result<(), Failure> {
        self.file.sync_all().map_err(|error| failed("sync", &self.path, &error))?;
        std::fs::rename(&self.path, target).map_err(|error| failed("give its name to", target, &error))?;
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let synced = File::open(parent.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
        synced.map_err(|error| failed("sync the folder of", target, &error))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Once it has its name there is nothing here any more.
        drop(std::fs::remove_file(&self.path));
    }
}

fn failed(action: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!("cannot {action} {}: {error}", path.display()))
}
