//! The simulated bank: a thread that keeps the ledger, and callers that wait for its answer.
//!
//! The thread enters everything that waits, syncs the file once, and only then answers.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::ledger::Ledger;
use super::{Answer, Bank, BankError, Charge, Refund};

/// The file's name in the data folder.
const FILE: &str = "bank.ledger";

/// How long paying for a `slow-…` account takes.
const SLOW: Duration = Duration::from_secs(2);

/// Most requests that share one sync.
const GROUP_MAX: usize = 1024;

/// The bank with its ledger in a file.
#[derive(Debug)]
pub struct LedgerBank {
    path: PathBuf,
    latency: Duration,
    office: Mutex<Option<Office>>,
}

/// The thread behind the counter.
#[derive(Debug)]
struct Office {
    counter: mpsc::Sender<Job>,
    thread: JoinHandle<()>,
}

/// Enters one request and gives a way to answer it.
type Job = Box<dyn FnOnce(&mut Ledger) -> Reply + Send>;

/// Answers one request: as it was entered, or that the bank is down.
type Reply = Box<dyn FnOnce(Result<(), BankError>) + Send>;

impl LedgerBank {
    /// A bank whose ledger is `bank.ledger` in `data_dir`, and that takes `latency` over each payment and
    /// refund. Opens the file when it is first asked for anything.
    pub fn new(data_dir: &Path, latency: Duration) -> Self {
        Self { path: data_dir.join(FILE), latency, office: Mutex::new(None) }
    }

    async fn ask<T, F>(&self, enter: F) -> Result<T, BankError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Ledger) -> Result<T, BankError> + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        self.hand_in(Box::new(move |ledger| {
            let entered = enter(ledger);
            Box::new(move |written| {
                // Whoever asked may have gone away; the entry stands all the same.
                let _gone = sender.send(written.and(entered));
            })
        }))?;
        answer.await.map_err(|_| closed())?
    }

    fn hand_in(&self, job: Job) -> Result<(), BankError> {
        let mut office = self.office.lock().unwrap_or_else(PoisonError::into_inner);
        if office.is_none() {
            *office = Some(Office::open(&self.path)?);
        }
        office.as_ref().map_or_else(|| Err(closed()), |office| office.counter.send(job).map_err(|_| closed()))
    }
}

impl Office {
    fn open(path: &Path) -> Result<Self, BankError> {
        let ledger = Ledger::open(path)
            .map_err(|error| BankError::Down { cause: format!("its ledger {}: {error}", path.display()) })?;
        let (counter, jobs) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("bank".to_owned())
            .spawn(move || work(&jobs, ledger))
            .map_err(|error| BankError::Down { cause: error.to_string() })?;
        Ok(Self { counter, thread })
    }
}

impl Drop for LedgerBank {
    /// Waits until all that was handed in is on disk, so that the next one to open the file sees it.
    fn drop(&mut self) {
        let office = self.office.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Office { counter, thread }) = office {
            drop(counter);
            // A panicked thread has nothing to wait for.
            let _panicked = thread.join();
        }
    }
}

fn work(jobs: &mpsc::Receiver<Job>, mut ledger: Ledger) {
    let mut broken = None;
    while let Ok(first) = jobs.recv() {
        let group = std::iter::once(first).chain(jobs.try_iter().take(GROUP_MAX - 1));
        let replies: Vec<Reply> = group.map(|job| job(&mut ledger)).collect();
        if broken.is_none() {
            // After a failed sync nobody knows what the disk has: never answer for it again.
            broken = ledger.sync().err().map(|error| format!("its ledger: {error}; restart"));
        }
        for reply in replies {
            reply(broken.clone().map_or(Ok(()), |cause| Err(BankError::Down { cause })));
        }
    }
}

fn closed() -> BankError {
    BankError::Down { cause: "it has closed; restart".to_owned() }
}

impl Bank for LedgerBank {
    fn charge(&self, charge: Charge) -> Answer<'_, String> {
        Box::pin(async move {
            let delay = if charge.account.starts_with("slow-") { SLOW } else { self.latency };
            wait(delay).await;
            panic_for(&charge.account);
            self.ask(|ledger| ledger.charge(charge)).await
        })
    }

    fn refund(&self, refund: Refund) -> Answer<'_, ()> {
        Box::pin(async move {
            wait(self.latency).await;
            self.ask(|ledger| ledger.refund(refund)).await
        })
    }

    fn restore(&self, account: String) -> Answer<'_, ()> {
        Box::pin(self.ask(|ledger| ledger.restore(account)))
    }
}

async fn wait(delay: Duration) {
    // A sleep of nothing would still cost a timer's tick.
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// What the account is for: to see what a panic does to a flow.
fn panic_for(account: &str) {
    assert!(!account.starts_with("panic-"), "the bank's client panicked on account `{account}`");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn charge(key: &str, account: &str) -> Charge {
        Charge { key: key.to_owned(), account: account.to_owned(), order: "o1".to_owned(), amount: 5 }
    }

    #[tokio::test]
    async fn many_callers_at_once_get_one_entry_each_and_a_repeat_none() {
        let data = tempfile::tempdir().unwrap();
        let bank = Arc::new(LedgerBank::new(data.path(), Duration::ZERO));
        let ask = |number: u32| {
            let bank = Arc::clone(&bank);
            // Every key twice.
            tokio::spawn(
                async move { bank.charge(charge(&format!("k{}", number / 2), "alice")).await.unwrap() },
            )
        };

        let mut payments = Vec::new();
        for caller in (0..100).map(ask).collect::<Vec<_>>() {
            payments.push(caller.await.unwrap());
        }
        drop(bank);

        let text = std::fs::read_to_string(data.path().join(FILE)).unwrap();
        assert_eq!(text.lines().count(), 50);
        assert!(payments.chunks(2).all(|pair| pair[0] == pair[1]));
    }

    #[tokio::test]
    async fn what_was_answered_is_in_the_file() {
        let data = tempfile::tempdir().unwrap();
        let bank = LedgerBank::new(data.path(), Duration::ZERO);

        let payment = bank.charge(charge("k1", "alice")).await.unwrap();

        let text = std::fs::read_to_string(data.path().join(FILE)).unwrap();
        assert!(text.ends_with('\n') && text.contains(&format!(r#""payment":"{payment}""#)), "{text}");
    }

    #[tokio::test]
    async fn a_ledger_that_does_not_open_is_told_and_tried_again() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join(FILE);
        std::fs::write(&path, "nonsense\n").unwrap();
        let bank = LedgerBank::new(data.path(), Duration::ZERO);

        let error = bank.charge(charge("k1", "alice")).await.unwrap_err();
        std::fs::write(&path, "").unwrap();
        bank.charge(charge("k1", "alice")).await.unwrap();

        assert!(error.to_string().contains("line 1 does not read"), "{error}");
    }

    #[tokio::test]
    #[should_panic(expected = "the bank's client panicked on account `panic-1`")]
    async fn an_account_named_panic_panics() {
        let data = tempfile::tempdir().unwrap();
        let bank = LedgerBank::new(data.path(), Duration::ZERO);

        drop(bank.charge(charge("k1", "panic-1")).await);
    }
}
