//! The controls: writers that promise too much. The harness has to catch each of them, or it proves nothing.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::disk::Disk;
use crate::record::{Lines, read};
use crate::site::{Working, own};
use crate::time::pause;
use crate::{Outcome, say};

/// Bytes of what is written.
const VALUE: usize = 200;
/// Bytes that are reserved.
const RESERVED: u64 = 4 << 20;

/// How it is made durable, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Promise {
    /// A file that is appended to and never synced: loses.
    Plain,
    /// The same with an `fdatasync` before each acknowledgement: keeps.
    Synced,
    /// The same into room that was reserved before, as the commit journal does it: keeps.
    Reserved,
    /// sled with its own `flush()` before each acknowledgement: loses.
    Sled,
}

/// What a control writes where.
#[derive(Debug, Clone, Args)]
pub(crate) struct ControlArgs {
    /// How.
    #[arg(long)]
    promise: Promise,
    /// The folder under test.
    #[arg(long)]
    data: PathBuf,
    /// The oracle's record, elsewhere.
    #[arg(long)]
    record: PathBuf,
}

/// Writes and acknowledges numbers until it dies.
pub(crate) fn control(args: &ControlArgs) -> Outcome<()> {
    let record = Lines::open(&args.record)?;
    let mut keep = keeper(args.promise, &args.data)?;
    say("begun");
    for n in 0_u64.. {
        keep(n)?;
        record.add(&[n])?;
    }
    Ok(())
}

type Keep = Box<dyn FnMut(u64) -> Outcome<()>>;

fn keeper(promise: Promise, data: &Path) -> Outcome<Keep> {
    std::fs::create_dir_all(data)?;
    if promise == Promise::Sled {
        let db = ::sled::open(data)?;
        db.flush()?;
        return Ok(Box::new(move |n| {
            db.insert(n.to_be_bytes(), vec![b'x'; VALUE])?;
            db.flush()?;
            Ok(())
        }));
    }
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(data.join("numbers"))?;
    if promise == Promise::Reserved {
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVED)?;
    }
    file.sync_all()?;
    File::open(data)?.sync_all()?;
    Ok(Box::new(move |n| {
        file.write_all(format!("{n:0200}\n").as_bytes())?;
        if promise != Promise::Plain {
            file.sync_data()?;
        }
        Ok(())
    }))
}

/// One cut of a control: how many of the acknowledged numbers are gone, of how many; all when it cannot be opened.
pub(super) fn lost(promise: Promise, millis: u64) -> Outcome<(usize, usize)> {
    let disk = Disk::new()?;
    let oracle = tempfile::tempdir()?;
    let (data, record) = (disk.root().join("data"), oracle.path().join("record"));
    let name = promise.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let mut command = own("control")?;
    command.arg("--promise").arg(name).arg("--data").arg(&data).arg("--record").arg(&record);
    let mut working = Working::start(&mut command, &oracle.path().join("log"))?;
    working
        .line(Duration::from_secs(20))
        .ok_or_else(|| format!("a control did not begin: {}", working.log()))?;
    pause(Duration::from_millis(millis));
    working.freeze()?;
    disk.cut()?;
    working.kill()?;
    disk.restart()?;
    let acked: Vec<u64> = read(&record)?;
    let kept = kept(promise, &data, &acked);
    Ok((acked.len() - kept, acked.len()))
}

fn kept(promise: Promise, data: &Path, acked: &[u64]) -> usize {
    if promise == Promise::Sled {
        // It panics where it finds damage, and says so on standard error.
        let opened = std::panic::catch_unwind(|| {
            let db = ::sled::open(data).ok()?;
            Some(acked.iter().filter(|n| db.get(n.to_be_bytes()).is_ok_and(|value| value.is_some())).count())
        });
        return opened.ok().flatten().unwrap_or_default();
    }
    let text = std::fs::read(data.join("numbers")).unwrap_or_default();
    let lines =
        text.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()?.parse().ok());
    let there: std::collections::BTreeSet<u64> = lines.collect();
    acked.iter().filter(|n| there.contains(n)).count()
}
