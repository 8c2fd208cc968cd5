//! A disk whose power can be cut: ext4 in an image file, mounted by a loop device.
//!
//! A cut stops the file system at once, without writing back what is in memory or in its log; then it is mounted
//! anew, which replays the log as after a real failure. What was sent to the device before is there: a device
//! with a cache of its own that lies about a flush is not simulated.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::Outcome;
use crate::time::{pause, until};

const CUT: &str = include_str!("../native/cut.c");
/// Bytes of the image; it is sparse, and holds what all lives of a disk write of the largest payloads on a quick machine.
const BYTES: u64 = 8 << 30;
/// How long the mount may be in use after the last process was killed.
const BUSY: Duration = Duration::from_secs(20);

/// Compiles a C program or library of this harness.
pub(crate) fn compile(source: &str, to: &Path, flags: &[&str]) -> Outcome<()> {
    let code = to.with_extension("c");
    std::fs::write(&code, source)?;
    run("gcc", &[&["-O2", "-Wall", "-o", text(to)?, text(&code)?], flags].concat())
}

/// Why there can be no such disk here, if so.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::getuid().is_root() {
        return Some("root".to_owned());
    }
    let works = |tool: &str, argument: &str| {
        let mut command = Command::new(tool);
        command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let tools = [("gcc", "--version"), ("mkfs.ext4", "-V"), ("mount", "--version")];
    tools.iter().find(|(tool, argument)| !works(tool, argument)).map(|(tool, _)| (*tool).to_owned())
}

/// The mounted disk; unmounted and removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: TempDir,
}

impl Disk {
    /// A fresh one.
    pub(crate) fn new() -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix("tidegate-disk-").tempdir()?;
        let disk = Self { folder };
        std::fs::create_dir(disk.root())?;
        compile(CUT, &disk.cutter(), &[])?;
        std::fs::File::create(disk.image())?.set_len(BYTES)?;
        run(
            "mkfs.ext4",
            &["-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1", text(&disk.image())?],
        )?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Cuts the power: nothing that was not synced is there any more.
    pub(crate) fn cut(&self) -> Outcome<()> {
        run(text(&self.cutter())?, &[text(&self.root())?])
    }

    /// Gives the power back; whoever had files open must be gone.
    pub(crate) fn restart(&self) -> Outcome<()> {
        until("the disk is let go of", BUSY, || {
            let unmounted = run("umount", &[text(&self.root())?]).is_ok();
            if !unmounted {
                pause(Duration::from_millis(20));
            }
            Ok(unmounted.then_some(()))
        })?;
        self.mount()
    }

    fn mount(&self) -> Outcome<()> {
        run("mount", &["-o", "loop", text(&self.image())?, text(&self.root())?])
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn cutter(&self) -> PathBuf {
        self.folder.path().join("cut")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A loop device that stays behind would be the next test's trouble.
        let unmount = || run("umount", &[text(&self.root())?]);
        for _ in 0..50 {
            if unmount().is_ok() {
                return;
            }
            pause(Duration::from_millis(20));
        }
        drop(run("umount", &["-l", text(&self.root()).unwrap_or_default()]));
    }
}

/// Runs a tool to its end.
pub(crate) fn run(tool: &str, arguments: &[&str]) -> Outcome<()> {
    let done = Command::new(tool).args(arguments).stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("{tool} cannot be started: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{tool} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr).trim()).into())
}

pub(crate) fn text(path: &Path) -> Outcome<&str> {
    path.to_str().ok_or_else(|| format!("{} is no UTF-8", path.display()).into())
}
