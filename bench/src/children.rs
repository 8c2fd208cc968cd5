//! Child processes: each measure has one of its own, so that memory, CPU time and caches are its own too.
//!
//! A child is ended by its own id, at the latest when its value is dropped.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use tidegate::clock::Stopwatch;

use crate::Outcome;
use crate::inside::Task;

/// How long a child may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a child may take over its measure: a backlog of 10 million events takes half of it on a busy machine.
const MEASURE: Duration = Duration::from_hours(1);

/// Where children log, in the folder that is theirs.
const LOG: &str = "children.log";

/// A child process.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    name: String,
}

impl Running {
    /// Starts `command`; its standard output is read here, its log goes to a file in `folder`.
    pub(crate) fn start(name: &str, folder: &Path, command: &mut Command) -> Outcome<Self> {
        let log = OpenOptions::new().create(true).append(true).open(folder.join(LOG))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{name} cannot be started: {error}"))?;
        let output = child.stdout.take().ok_or("a child has no standard output")?;
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines, name: name.to_owned() })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it says.
    pub(crate) fn line(&mut self) -> Outcome<String> {
        let name = &self.name;
        match self.lines.recv_timeout(MEASURE) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => Err(format!("{name} says nothing for {MEASURE:?}").into()),
            Err(RecvTimeoutError::Disconnected) => Err(format!(
                "{name} ended with {}; why stands in {LOG} of the data folder",
                self.child.wait()?
            )
            .into()),
        }
    }

    /// The address that it says it listens on.
    pub(crate) fn address(&mut self) -> Outcome<SocketAddr> {
        let line = self.line()?;
        let address = line.strip_prefix("listening on http://").and_then(|address| address.parse().ok());
        address.ok_or_else(|| format!("{} says {line:?} and not where it listens", self.name).into())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self) -> Outcome<()> {
        if let Some(pid) = Pid::from_child(&self.child).into() {
            kill_process(pid, Signal::TERM)?;
        }
        let begin = Stopwatch::start();
        while self.child.try_wait()?.is_none() {
            if begin.elapsed() > PATIENCE {
                return Err(format!("{} does not end after SIGTERM", self.name).into());
            }
            pause(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits; the driver has nothing else to do.
#[expect(clippy::disallowed_methods, reason = "no arbiter runs on the driver's thread")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// This program as another child.
pub(crate) fn own(verb: &str) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(verb);
    Ok(command)
}

/// Where the log of a measure in `folder` is: beside it, so that it is there when the measure's data is gone.
fn log_folder(folder: &Path) -> PathBuf {
    folder.parent().unwrap_or(folder).to_owned()
}

/// The product's own `serve` with the bench application, on the data in `folder`.
pub(crate) fn serve(folder: &Path) -> Outcome<(Running, SocketAddr)> {
    serve_wired(folder, &crate::app::wiring(&folder.join("data"), false))
}

/// The same with a wiring of one's own; its data should lie in `folder` too.
pub(crate) fn serve_wired(folder: &Path, wiring: &str) -> Outcome<(Running, SocketAddr)> {
    let config = folder.join("config");
    std::fs::create_dir_all(&config)?;
    std::fs::write(config.join("topology.toml"), wiring)?;
    let mut server =
        Running::start("tidegate", &log_folder(folder), own("serve")?.arg("--config").arg(&config))?;
    let address = server.address()?;
    Ok((server, address))
}

/// The same server without the bus.
pub(crate) fn empty(disk: &Path) -> Outcome<(Running, SocketAddr)> {
    let mut server = Running::start("the empty server", disk, &mut own("empty")?)?;
    let address = server.address()?;
    Ok((server, address))
}

/// The same server before Redis.
pub(crate) fn front(disk: &Path, port: u16) -> Outcome<(Running, SocketAddr)> {
    let mut server = Running::start("the front", disk, own("front")?.arg(port.to_string()))?;
    let address = server.address()?;
    Ok((server, address))
}

/// Runs a task inside of a process of its own, until it has told its outcome and ended.
pub(crate) fn inside<T: DeserializeOwned>(task: &Task) -> Outcome<T> {
    let (told, child) = inside_and_hold(task)?;
    child.let_end()?;
    Ok(told)
}

/// The same, and the process still runs: it holds its bus open until its input is closed or it is killed.
pub(crate) fn inside_and_hold<T: DeserializeOwned>(task: &Task) -> Outcome<(T, Running)> {
    let name = format!("the measure {task:?}");
    let folder = task.data.parent().map(log_folder).unwrap_or_default();
    let mut child = Running::start(&name, &folder, own("inside")?.arg(serde_json::to_string(task)?))?;
    let line = child.line()?;
    let told = serde_json::from_str(&line).map_err(|error| format!("{name} says {line:?}: {error}"))?;
    Ok((told, child))
}

impl Running {
    /// Closes its input and waits for its end.
    fn let_end(mut self) -> Outcome<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", self.name).into()) }
    }
}
