//! A place where one child after the other works: a data folder, and the oracle's on another file system.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::Outcome;
use crate::check::{Expect, check};
use crate::time::until;
use crate::work::books;

/// How long a child may take to start, to come to rest and to tell what it sees.
const PATIENCE: Duration = Duration::from_mins(4);
/// The signal of an abort.
const SIGABRT: i32 = 6;

/// Folders for children that work one after the other.
#[derive(Debug)]
pub(crate) struct Site {
    own: TempDir,
    data: PathBuf,
    size: usize,
    pins: bool,
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// In order.
    Well,
    /// It aborted, as at a fail point.
    Aborted,
    /// By another signal, with what it last logged.
    Killed(String),
    /// It said that it failed, and why.
    Failed(String),
    /// It ran on when patience was over; it was ended.
    TooLong,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Well => write!(f, "it ended in order"),
            Self::Aborted => write!(f, "it aborted"),
            Self::Killed(log) => write!(f, "it was killed: {log}"),
            Self::Failed(log) => write!(f, "it failed: {log}"),
            Self::TooLong => write!(f, "it did not end"),
        }
    }
}

/// A child that works; killed by its own id when it is dropped.
#[derive(Debug)]
pub(crate) struct Working {
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Site {
    /// Folders under the system's temporary folder, for payloads of `size` bytes; `pins` as children take it.
    pub(crate) fn new(size: usize, pins: bool) -> Outcome<Self> {
        let own = tempfile::Builder::new().prefix("tidegate-soak-").tempdir()?;
        let data = own.path().join("data");
        Ok(Self { own, data, size, pins })
    }

    /// The same with the data elsewhere.
    pub(crate) fn on(data: PathBuf, size: usize, pins: bool) -> Outcome<Self> {
        Ok(Self { data, ..Self::new(size, pins)? })
    }

    /// The data folder.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// The oracle's folder.
    pub(crate) fn oracle(&self) -> &Path {
        self.own.path()
    }

    /// Starts a child that works here.
    pub(crate) fn work(&self, more: &[&str]) -> Outcome<Working> {
        self.work_with(|command| {
            command.args(more);
        })
    }

    /// The same, with another command before it is started.
    pub(crate) fn work_with(&self, change: impl FnOnce(&mut Command)) -> Outcome<Working> {
        let mut command = own("work")?;
        command.arg("--data").arg(&self.data).arg("--oracle").arg(self.oracle());
        command.arg("--size").arg(self.size.to_string());
        command.args(self.pins.then_some("--pins"));
        change(&mut command);
        Working::start(&mut command, &self.own.path().join("log"))
    }

    /// Starts a child that only looks, and tells what is broken; a child that cannot is broken too.
    pub(crate) fn restart_and_check(&self, expect: Expect) -> Outcome<Vec<String>> {
        self.check_with(expect, &[])
    }

    /// The same, with more arguments for the child.
    pub(crate) fn check_with(&self, expect: Expect, more: &[&str]) -> Outcome<Vec<String>> {
        let args = [&["--publish", "0"], more].concat();
        match self.work(&args)?.wait(PATIENCE)? {
            Ended::Well => self.broken(expect),
            ended => Ok(vec![format!("the restarted process is no good: {ended}")]),
        }
    }

    /// Compares what the last child has observed with the oracle.
    pub(crate) fn broken(&self, expect: Expect) -> Outcome<Vec<String>> {
        let (acked, effects, observed) = books(self.oracle())?;
        let mut broken: Vec<String> =
            check(&acked, &effects, &observed, expect).iter().map(ToString::to_string).collect();
        // Where nothing was damaged, nothing may be unreadable.
        broken.extend(observed.told.iter().map(|told| format!("unreadable: {told}")));
        Ok(broken)
    }

    /// How many events were acknowledged here.
    pub(crate) fn acked(&self) -> Outcome<usize> {
        let record = crate::work::Oracle(self.oracle().to_owned()).record();
        Ok(crate::record::read::<crate::record::Acked>(&record)?.len())
    }
}

/// This program as a child, with nothing from the environment that would change what it does.
pub(crate) fn own(verb: &str) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let foreign = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEGATE_"));
    foreign.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.arg(verb);
    Ok(command)
}

impl Working {
    /// Starts a command; its standard output is read, its log goes to a file.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Outcome<Self> {
        let stderr = OpenOptions::new().create(true).write(true).truncate(true).open(log)?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn()?;
        let output = child.stdout.take().ok_or("a child has no standard output")?;
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines, log: log.to_owned() })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it says; `None` when it has ended instead, or says nothing for `patience`.
    pub(crate) fn line(&self, patience: Duration) -> Option<String> {
        self.lines.recv_timeout(patience).ok()
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Outcome<Option<Ended>> {
        Ok(self.child.try_wait()?.map(|status| self.how(status)))
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(mut self, patience: Duration) -> Outcome<Ended> {
        let ended = until("a child ends", patience, || self.ended());
        ended.or(Ok(Ended::TooLong))
    }

    /// Stops it where it is: what it was told before, it has written down, and it is told nothing more. A sync that
    /// is under way when the power is cut may return as if it had worked.
    pub(crate) fn freeze(&mut self) -> Outcome<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).ok_or("a child without an id")?;
        kill_process(pid, Signal::STOP)?;
        // In the kernel, or stopped; a thread that is gone runs no more either.
        let rests = |thread: &Path| {
            let stat = std::fs::read_to_string(thread.join("stat")).unwrap_or_default();
            let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
            state.is_none_or(|state| matches!(state, 'T' | 'D' | 'Z' | 'X'))
        };
        until("a child stops", PATIENCE, || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid()))?;
            Ok(threads.flatten().all(|thread| rests(&thread.path())).then_some(()))
        })
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(mut self) -> Outcome<Ended> {
        self.child.kill()?;
        let status = self.child.wait()?;
        Ok(self.how(status))
    }

    /// What it logged last.
    pub(crate) fn log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(4).collect();
        last.into_iter().rev().collect::<Vec<_>>().join(" / ")
    }

    fn how(&self, status: ExitStatus) -> Ended {
        match (status.code(), status.signal()) {
            (Some(0), _) => Ended::Well,
            (_, Some(SIGABRT)) => Ended::Aborted,
            (Some(_), _) => Ended::Failed(self.log()),
            (None, _) => Ended::Killed(self.log()),
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
