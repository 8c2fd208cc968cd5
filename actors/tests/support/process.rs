//! The process under test, with a folder of its own.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{Client, Watch, until};

/// A folder with data and a config, where servers are started one after the other.
#[derive(Debug)]
pub(crate) struct Site {
    folder: TempDir,
    config: PathBuf,
    set: Vec<String>,
    /// What a shell does before it becomes the server.
    before: Vec<String>,
}

/// A server that runs; it is killed when this is dropped, and its log shown when the test fails.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    client: Client,
    url: String,
    log: PathBuf,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The binary with nothing from the environment that could change what it does.
pub(crate) fn tidegate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEGATE_")) {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Finished {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Finished { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// A shell that does something and then becomes the command.
fn behind(before: &[String], command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{}; exec \"$0\" \"$@\"", before.join("; "))).arg(command.get_program());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.stdin(Stdio::null());
    shell
}

impl Site {
    /// An empty data folder, and the config as it is shipped. Journal files are small: making them is most
    /// of what a start costs.
    pub(crate) fn new() -> Self {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        let set = vec!["store.segment_bytes=4MiB".to_owned()];
        Self { folder: tempfile::tempdir().unwrap(), config, set, before: Vec::new() }
    }

    /// Sets a key for all that starts here from now on.
    #[must_use]
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.set.push(format!("{key}={value}"));
        self
    }

    /// Servers that start here from now on ignore a signal.
    #[must_use]
    pub(crate) fn ignoring(mut self, signal: &str) -> Self {
        self.before.push(format!("trap '' {signal}"));
        self
    }

    /// Servers that start here from now on have a limit, as `ulimit` of the shell sets it.
    #[must_use]
    pub(crate) fn limited(mut self, what: &str, limit: u64) -> Self {
        self.before.push(format!("ulimit {what} {limit}"));
        self
    }

    /// Copies the config into the folder, so that it can be changed.
    pub(crate) fn own_config(mut self) -> Self {
        let own = self.folder.path().join("config");
        std::fs::create_dir(&own).unwrap();
        for file in ["default.toml", "topology.toml"] {
            std::fs::copy(self.config.join(file), own.join(file)).unwrap();
        }
        self.config = own;
        self
    }

    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The command that serves here.
    pub(crate) fn command(&self) -> Command {
        let server = tidegate();
        let mut command = if self.before.is_empty() { server } else { behind(&self.before, &server) };
        command.arg("serve").arg("--config").arg(&self.config);
        for set in &self.set {
            command.arg("--set").arg(set);
        }
        command.current_dir(self.folder.path());
        command.env("TIDEGATE__HTTP__BIND", "127.0.0.1:0").env("TIDEGATE__STORE__PATH", self.data());
        command
    }

    /// Starts a server, and waits until it takes events.
    #[track_caller]
    pub(crate) fn start(&self) -> Server {
        let server = self.start_listening();
        until("the server is ready", || match server.client.get("/ready").try_send() {
            Ok(reply) if reply.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        });
        server
    }

    /// Starts a server, and waits until it listens: it may still recover.
    #[track_caller]
    pub(crate) fn start_listening(&self) -> Server {
        match self.try_start() {
            Ok(server) => server,
            Err(finished) => panic!("the server did not start: {finished:?}"),
        }
    }

    /// Starts a server that may refuse to start.
    pub(crate) fn try_start(&self) -> Result<Server, Finished> {
        let log = self.folder.path().join("log");
        let stderr = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let begin = stderr.metadata().unwrap().len();
        let mut child = self.command().stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let Some(url) = line.trim_end().strip_prefix("listening on ") else {
            lines.read_to_string(&mut line).unwrap();
            let code = child.wait().unwrap().code();
            let text = std::fs::read(&log).unwrap();
            let stderr = String::from_utf8_lossy(&text[usize::try_from(begin).unwrap()..]).into_owned();
            return Err(Finished { code, stdout: line, stderr });
        };
        Ok(Server { child, client: Client::new(url), url: url.to_owned(), log })
    }

    /// Runs a verb of the command line on this site's config.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        finish(tidegate().args(arguments).arg("--config").arg(&self.config).current_dir(self.folder.path()))
    }

    /// A start that must be refused.
    #[track_caller]
    pub(crate) fn refused(&self) -> Finished {
        match self.try_start() {
            Ok(_) => panic!("the server has started"),
            Err(finished) => finished,
        }
    }
}

impl Server {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// A verb of the command line that asks this server.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        finish(tidegate().args(arguments).env("TIDEGATE_URL", &self.url))
    }

    /// Kill -9: no goodbye.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let sent = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn stop(self) -> (ExitStatus, Duration) {
        let watch = Watch::start();
        self.terminate();
        (self.wait(), watch.elapsed())
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        until("the process ends", || self.try_wait().ok_or_else(|| "it runs".to_owned()))
    }

    /// How it has ended, when it has.
    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        if std::thread::panicking() {
            let log = std::fs::read(&self.log).unwrap_or_default();
            eprintln!("--- log of {}\n{}", self.url, tail(&String::from_utf8_lossy(&log)));
        }
    }
}

/// The last lines.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
