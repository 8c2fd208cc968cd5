//! Bar: how far a long work on a store has come, on a terminal.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::failure::Failure;
use crate::store::{Progress, StoreError};

/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(100);

/// A bar for the stages of one work. On anything but a terminal nothing is drawn.
#[derive(Debug)]
pub(super) struct Stages(ProgressBar);

impl Stages {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new(0);
        let form = "{msg:16} {bar:40} {percent:>3} %  {elapsed}";
        Self(ProgressStyle::with_template(form).map_or(bar.clone(), |style| bar.with_style(style)))
    }

    /// Draws what is so now.
    pub(super) fn show(&self, stage: &str, done: u64, total: u64) {
        self.0.set_message(stage.to_owned());
        self.0.set_length(total.max(1));
        self.0.set_position(done.min(total.max(1)));
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Does a long work on a thread of its own, and draws meanwhile how far it is.
///
/// # Errors
/// [`Failure::Usage`] when the operating system gives no thread, and when the work panicked.
pub(super) fn watched<T: Send>(
    work: impl FnOnce(&Progress) -> Result<T, StoreError> + Send,
) -> Result<Result<T, StoreError>, Failure> {
    let (progress, stages) = (Progress::default(), Stages::new());
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        let shared = &progress;
        let worker = move || {
            // Who asked waits below for as long as this runs.
            let _is_heard = tell.send(work(shared)).is_ok();
        };
        let spawned =
            std::thread::Builder::new().name("tidegate-store".to_owned()).spawn_scoped(scope, worker);
        spawned.map_err(|error| Failure::Usage(format!("cannot start a thread: {error}")))?;
        loop {
            match told.recv_timeout(TICK) {
                Ok(done) => return Ok(done),
                Err(RecvTimeoutError::Timeout) => {
                    let (stage, done, total) = progress.now();
                    stages.show(stage, done, total);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::Usage(
                        "it ended in the middle with a panic; please report this".to_owned(),
                    ));
                }
            }
        }
    })
}
