//! The server of a peer, on a port and in a folder of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tidegate::clock::Stopwatch;

use crate::Outcome;
use crate::children::pause;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running server; it ends, by its own id, when the value is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Its port on loopback.
    pub(crate) port: u16,
    folder: TempDir,
}

impl Server {
    /// Starts `program` in a new folder below `disk`; `command` adds its arguments, given the port and the folder.
    pub(crate) fn start(
        program: &Path,
        disk: &Path,
        command: impl FnOnce(&mut Command, u16, &Path) -> Outcome<()>,
    ) -> Outcome<Self> {
        let folder = TempDir::with_prefix_in("peer-", disk)?;
        // Free a moment ago; nobody else starts servers on this machine during a run.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut starting = Command::new(program);
        command(&mut starting, port, folder.path())?;
        let child = starting
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
        let server = Self { child, port, folder };
        server.listens(program)?;
        Ok(server)
    }

    fn listens(&self, program: &Path) -> Outcome<()> {
        let begin = Stopwatch::start();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        while TcpStream::connect(address).is_err() {
            if begin.elapsed() > PATIENCE {
                return Err(format!("{} does not listen on {address}", program.display()).into());
            }
            pause(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its data lies.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A program by its variable, else from PATH; `None` when it is nowhere.
pub(crate) fn find(variable: &str, program: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_file()) {
        return Some(path);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}
