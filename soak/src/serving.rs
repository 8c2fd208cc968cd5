//! The product's own `serve` with the soak application, and publishers who speak HTTP to it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use ureq::Agent;

use crate::Outcome;
use crate::app::{self, LEDGER, PUT, Tuning};
use crate::record::{Acked, Lines};
use crate::site::{Ended, Site, Working, own};
use crate::time::{nanos, pause, until};
use crate::work::Oracle;

/// Publishers, each with a key of its own.
const PUBLISHERS: u64 = 4;
/// How long a server may take to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long a request may take: longer is a hang.
const REQUEST: Duration = Duration::from_secs(5);

/// A server that runs.
pub(crate) struct Serving {
    working: Working,
    url: String,
    agent: Agent,
}

impl Serving {
    /// Starts it on the site's data, and waits until it is ready.
    pub(crate) fn start(site: &Site, tuning: Tuning, change: impl FnOnce(&mut Command)) -> Outcome<Self> {
        let config = site.oracle().join("config");
        std::fs::create_dir_all(&config)?;
        std::fs::write(config.join("topology.toml"), app::wiring(site.data(), tuning))?;
        let mut command = own("serve")?;
        command.arg("--config").arg(&config).env(LEDGER, Oracle(site.oracle().to_owned()).ledger());
        change(&mut command);
        let mut working = Working::start(&mut command, &site.oracle().join("log"))?;
        let line = working.line(PATIENCE).unwrap_or_default();
        let url = line.strip_prefix("listening on ").unwrap_or_default().to_owned();
        if url.is_empty() {
            return Err(format!("the server does not listen: {line:?}: {}", working.log()).into());
        }
        let agent = agent();
        until("the server is ready", PATIENCE, || match working.ended()? {
            Some(ended) => Err(format!("the server ended before it was ready: {ended}").into()),
            None => Ok((get(&agent, &format!("{url}/ready")).0 == 200).then_some(())),
        })?;
        Ok(Self { working, url, agent })
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Outcome<Option<Ended>> {
        self.working.ended()
    }

    /// Deliveries that are not at rest.
    pub(crate) fn backlog(&self) -> Outcome<u64> {
        let (status, body) = get(&self.agent, &format!("{}/v1/subscriptions", self.url));
        if status != 200 {
            return Err(format!("the list of subscriptions answers {status}: {body}").into());
        }
        let page: Page = serde_json::from_str(&body)?;
        Ok(page.items.iter().map(|item| item.backlog + item.inflight).sum())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(self) -> Outcome<Ended> {
        let pid = i32::try_from(self.working.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.ok_or("a child without an id")?, Signal::TERM)?;
        self.working.wait(PATIENCE)
    }

    /// Kills it.
    pub(crate) fn kill(self) -> Outcome<Ended> {
        self.working.kill()
    }

    /// Begins to publish events of `size` bytes, recorded at the site.
    pub(crate) fn load(&self, site: &Site, size: usize, first: u64) -> Outcome<Load> {
        let record = Arc::new(Lines::open(&Oracle(site.oracle().to_owned()).record())?);
        let shared = Arc::new(Shared::default());
        let publisher = |number| {
            let (shared, record, url) = (Arc::clone(&shared), Arc::clone(&record), self.url.clone());
            let key = format!("h{number}");
            std::thread::spawn(move || publish(&shared, &record, &url, &key, size, first))
        };
        Ok(Load { publishers: (0..PUBLISHERS).map(publisher).collect(), shared: Arc::clone(&shared) })
    }
}

/// What is read of the list of subscriptions.
#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    backlog: u64,
    inflight: u64,
}

/// Publishers at work.
pub(crate) struct Load {
    publishers: Vec<JoinHandle<Outcome<()>>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    answers: Mutex<Vec<Answer>>,
}

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// When it was asked for, in nanoseconds since 1970.
    pub(crate) began: u64,
    /// When it came.
    pub(crate) at: u64,
    /// Its status; 0 for none.
    pub(crate) status: u16,
}

impl Load {
    /// All answers so far.
    pub(crate) fn answers(&self) -> Vec<Answer> {
        self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until an answer with this status has come to a request made after `after`; says when.
    pub(crate) fn until_status(&self, status: u16, after: u64, patience: Duration) -> Outcome<u64> {
        until(&format!("an answer {status}"), patience, || {
            let answers = self.answers();
            Ok(answers.iter().find(|answer| answer.began >= after && answer.status == status).map(|a| a.at))
        })
    }

    /// Stops, and gives all answers.
    pub(crate) fn stop(self) -> Outcome<Vec<Answer>> {
        self.shared.is_over.store(true, Ordering::Release);
        let answers = Arc::clone(&self.shared);
        for publisher in self.publishers {
            publisher.join().map_err(|_| "a publisher panicked")??;
        }
        let answers = answers.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(answers)
    }
}

/// Publishes one event after the other; what is not taken is tried again with the same id.
fn publish(shared: &Shared, record: &Lines, url: &str, key: &str, size: usize, first: u64) -> Outcome<()> {
    let agent = agent();
    let url = format!("{url}/v1/events/{PUT}");
    for n in (first..).filter(|n| !app::fails_for_good(*n)) {
        let id = format!("{key}-{n}");
        let body = app::payload(key, n, size);
        loop {
            if shared.is_over.load(Ordering::Acquire) {
                return Ok(());
            }
            let began = nanos();
            let status = post(&agent, &url, &id, &body);
            let answer = Answer { began, at: nanos(), status };
            shared.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
            if status == 202 {
                record.add(&[Acked { id, key: key.to_owned(), n, size, later: false, began }])?;
                break;
            }
            pause(Duration::from_millis(10));
        }
    }
    Ok(())
}

fn agent() -> Agent {
    let config = Agent::config_builder().http_status_as_error(false).proxy(None);
    config.timeout_global(Some(REQUEST)).build().into()
}

fn post(agent: &Agent, url: &str, id: &str, body: &[u8]) -> u16 {
    let request = agent.post(url).header("content-type", "application/json");
    let answer = request.header("idempotency-key", format!("\"{id}\"")).send(body);
    // Read to its end, or the connection is not used again.
    answer.map_or(0, |mut answer| {
        drop(answer.body_mut().read_to_vec());
        answer.status().as_u16()
    })
}

fn get(agent: &Agent, url: &str) -> (u16, String) {
    agent.get(url).call().map_or((0, String::new()), |mut answer| {
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap_or_default())
    })
}

/// A folder that is a file system of its own in memory; unmounted when it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    folder: tempfile::TempDir,
}

impl Room {
    /// One of `mib` MiB.
    pub(crate) fn new(mib: u64) -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix("tidegate-room-").tempdir()?;
        let room = Self { folder };
        let path = room.path();
        let text = path.to_str().ok_or("the temporary folder is no UTF-8")?;
        crate::power::tool("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs", text])?;
        Ok(room)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Takes all of it that is left but `spare` bytes; gives the file to be removed.
    pub(crate) fn fill(&self, spare: u64) -> Outcome<PathBuf> {
        let path = self.folder.path().join("filler");
        let file = std::fs::File::create(&path)?;
        // The server takes room meanwhile: then there is less than was found.
        until("the disk is full", PATIENCE, || {
            let found = rustix::fs::statvfs(self.folder.path())?;
            let left = (found.f_bavail * found.f_frsize).saturating_sub(spare);
            if left == 0 {
                return Ok(Some(()));
            }
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, left) {
                Ok(()) => Ok(Some(())),
                Err(rustix::io::Errno::NOSPC) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })?;
        Ok(path)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let path = self.folder.path().to_string_lossy().into_owned();
        drop(crate::power::tool("umount", &["-l", &path]));
    }
}

/// Whether a path lies under another.
pub(crate) fn is_under(path: &str, folder: &Path) -> bool {
    Path::new(path).starts_with(folder)
}
