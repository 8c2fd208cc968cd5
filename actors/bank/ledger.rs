//! The bank's ledger file: one JSON object a line, only ever appended to.
//!
//! ```text
//! {"kind":"charge","key":"…","payment":"payment-1","account":"alice","order":"o1","amount":30}
//! {"kind":"refund","key":"…","payment":"payment-1","account":"alice","order":"o1","amount":30}
//! {"kind":"restored","account":"outage-1"}
//! ```
//! A last line without its end was never answered for and is cut off; anything else that does not read is
//! an error that names the line. All of it is kept in memory too, as a simulation may.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{BankError, Charge, Refund};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Entry {
    Charge { key: String, payment: String, account: String, order: String, amount: u64 },
    Refund { key: String, payment: String, account: String, order: String, amount: u64 },
    Restored { account: String },
}

/// The file and what it says.
#[derive(Debug)]
pub(super) struct Ledger {
    file: File,
    by_key: HashMap<String, Entry>,
    /// Payments by name: their key, until they went back.
    payments: HashMap<String, String>,
    restored: HashSet<String>,
    charges: u64,
    /// Lines that are not in the file yet.
    unwritten: Vec<u8>,
}

impl Ledger {
    /// Opens the ledger, creating it and its folder where they are missing.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(whole as u64)?;
            text.truncate(whole);
        }
        file.sync_all()?;
        File::open(folder)?.sync_all()?;
        let mut ledger = Self {
            file,
            by_key: HashMap::new(),
            payments: HashMap::new(),
            restored: HashSet::new(),
            charges: 0,
            unwritten: Vec::new(),
        };
        let lines = text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
        for (index, line) in lines {
            let entry = serde_json::from_slice(line)
                .map_err(|error| io::Error::other(format!("line {} does not read: {error}", index + 1)))?;
            ledger.note(entry);
        }
        Ok(ledger)
    }

    /// Enters a charge, or finds the one that was entered under its key.
    pub(super) fn charge(&mut self, charge: Charge) -> Result<String, BankError> {
        let Charge { key, account, order, amount } = charge;
        match self.by_key.get(&key) {
            Some(Entry::Charge { payment, account: by, order: known, amount: sum, .. })
                if (by, known, *sum) == (&account, &order, amount) =>
            {
                return Ok(payment.clone());
            }
            Some(_) => return Err(BankError::KeyReused { key }),
            None => {}
        }
        if account.starts_with("stolen-") {
            return Err(BankError::Stolen { account });
        }
        if account.starts_with("outage-") && !self.restored.contains(&account) {
            return Err(BankError::TimedOut { account });
        }
        let payment = format!("payment-{}", self.charges + 1);
        self.enter(Entry::Charge { key, payment: payment.clone(), account, order, amount })?;
        Ok(payment)
    }

    /// Enters a refund, unless it was entered under its key before.
    pub(super) fn refund(&mut self, refund: Refund) -> Result<(), BankError> {
        let Refund { key, payment, account, order, amount } = refund;
        let entry = Entry::Refund { key, payment, account, order, amount };
        let Entry::Refund { key, payment, account, amount, .. } = &entry else { return Ok(()) };
        if let Some(known) = self.by_key.get(key) {
            return if *known == entry { Ok(()) } else { Err(BankError::KeyReused { key: key.clone() }) };
        }
        let refuse = |problem| Err(BankError::NotRefundable { payment: payment.clone(), problem });
        match self.payments.get(payment).and_then(|key| self.by_key.get(key)) {
            Some(Entry::Charge { account: by, amount: sum, .. }) if (by, sum) == (account, amount) => {}
            Some(_) => return refuse("it is of another account or amount"),
            None => return refuse("there is none, or it went back already"),
        }
        self.enter(entry)
    }

    /// Notes the end of an account's outage.
    pub(super) fn restore(&mut self, account: String) -> Result<(), BankError> {
        if self.restored.contains(&account) { Ok(()) } else { self.enter(Entry::Restored { account }) }
    }

    /// Writes what was entered, and returns when the disk has it.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        self.file.write_all(&self.unwritten)?;
        self.unwritten.clear();
        self.file.sync_data()
    }

    fn enter(&mut self, entry: Entry) -> Result<(), BankError> {
        let line =
            serde_json::to_vec(&entry).map_err(|error| BankError::Down { cause: error.to_string() })?;
        self.unwritten.extend_from_slice(&line);
        self.unwritten.push(b'\n');
        self.note(entry);
        Ok(())
    }

    fn note(&mut self, entry: Entry) {
        match &entry {
            Entry::Charge { key, payment, .. } => {
                self.charges += 1;
                self.payments.insert(payment.clone(), key.clone());
                self.by_key.insert(key.clone(), entry);
            }
            Entry::Refund { key, payment, .. } => {
                self.payments.remove(payment);
                self.by_key.insert(key.clone(), entry);
            }
            Entry::Restored { account } => {
                self.restored.insert(account.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(key: &str, account: &str, amount: u64) -> Charge {
        Charge { key: key.to_owned(), account: account.to_owned(), order: "o1".to_owned(), amount }
    }

    fn back(key: &str, payment: &str, amount: u64) -> Refund {
        Refund {
            key: key.to_owned(),
            payment: payment.to_owned(),
            account: "alice".to_owned(),
            order: "o1".to_owned(),
            amount,
        }
    }

    /// A ledger in a folder that does not exist yet.
    fn place() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data").join("bank.ledger");
        (folder, path)
    }

    #[test]
    fn a_repeated_key_answers_the_first_result_and_enters_nothing() {
        let (_folder, path) = place();
        let mut ledger = Ledger::open(&path).unwrap();
        let first = ledger.charge(charge("k1", "alice", 5)).unwrap();
        ledger.sync().unwrap();
        let written = std::fs::read(&path).unwrap();
        drop(ledger);

        let mut ledger = Ledger::open(&path).unwrap();
        let again = ledger.charge(charge("k1", "alice", 5)).unwrap();
        let other = ledger.charge(charge("k1", "alice", 6)).unwrap_err();
        ledger.sync().unwrap();

        assert_eq!(first, again);
        assert_eq!(other, BankError::KeyReused { key: "k1".to_owned() });
        assert_eq!(std::fs::read(&path).unwrap(), written);
        assert_eq!(ledger.charge(charge("k2", "alice", 5)).unwrap(), "payment-2");
    }

    #[test]
    fn a_payment_goes_back_once_and_only_as_it_was() {
        let (_folder, path) = place();
        let mut ledger = Ledger::open(&path).unwrap();
        let payment = ledger.charge(charge("k1", "alice", 5)).unwrap();

        ledger.refund(back("r0", &payment, 6)).unwrap_err();
        ledger.refund(back("r0", "payment-9", 5)).unwrap_err();
        ledger.refund(back("r1", &payment, 5)).unwrap();
        ledger.refund(back("r1", &payment, 5)).unwrap();
        ledger.refund(back("r2", &payment, 5)).unwrap_err();
        ledger.refund(back("k1", &payment, 5)).unwrap_err();
        ledger.sync().unwrap();

        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().last().unwrap().contains(r#""kind":"refund","key":"r1""#), "{text}");
    }

    #[test]
    fn an_outage_lasts_until_it_is_restored_and_that_survives_a_restart() {
        let (_folder, path) = place();
        let mut ledger = Ledger::open(&path).unwrap();
        let timed_out = BankError::TimedOut { account: "outage-1".to_owned() };
        assert_eq!(ledger.charge(charge("k1", "outage-1", 5)), Err(timed_out));
        ledger.restore("outage-1".to_owned()).unwrap();
        ledger.restore("outage-1".to_owned()).unwrap();
        ledger.sync().unwrap();
        drop(ledger);

        let mut ledger = Ledger::open(&path).unwrap();

        ledger.charge(charge("k1", "outage-1", 5)).unwrap();
        ledger.charge(charge("k2", "outage-2", 5)).unwrap_err();
        assert_eq!(
            ledger.charge(charge("k3", "stolen-1", 5)).unwrap_err().to_string(),
            "account `stolen-1` is reported stolen"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn a_torn_last_line_is_cut_at_every_length() {
        let (_folder, path) = place();
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.charge(charge("k1", "alice", 5)).unwrap();
        ledger.sync().unwrap();
        let first = std::fs::read(&path).unwrap();
        ledger.charge(charge("k2", "alice", 5)).unwrap();
        ledger.sync().unwrap();
        drop(ledger);
        let both = std::fs::read(&path).unwrap();

        for length in first.len()..both.len() {
            std::fs::write(&path, &both[..length]).unwrap();
            let mut ledger = Ledger::open(&path).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), first, "cut at {length}");
            ledger.charge(charge("k2", "alice", 5)).unwrap();
            ledger.sync().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), both, "cut at {length}");
        }
    }

    #[test]
    fn damage_before_the_end_is_told_with_its_line() {
        let (_folder, path) = place();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "{\"kind\":\"restored\",\"account\":\"a\"}\n{broken}\n").unwrap();

        let error = Ledger::open(&path).unwrap_err();

        assert!(error.to_string().starts_with("line 2 does not read"), "{error}");
    }
}
