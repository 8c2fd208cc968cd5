//! A bank for the unit tests of steps: in memory, and as bad as it is told to be.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::{Answer, Bank, BankError, Charge, Refund};

/// Keeps what it was asked.
#[derive(Debug, Default)]
pub(crate) struct FakeBank(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    keys: BTreeSet<String>,
    charged: Vec<(String, u64)>,
    refunded: Vec<(String, u64)>,
    restored: Vec<String>,
    asked: u32,
    failure: Option<BankError>,
}

impl FakeBank {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What a step is given.
    pub(crate) fn as_bank(self: &Arc<Self>) -> Arc<dyn Bank> {
        Arc::<Self>::clone(self)
    }

    /// The next request fails like this.
    pub(crate) fn fail_with(&self, error: BankError) {
        self.0.lock().unwrap().failure = Some(error);
    }

    pub(crate) fn charged(&self) -> Vec<(String, u64)> {
        self.0.lock().unwrap().charged.clone()
    }

    pub(crate) fn refunded(&self) -> Vec<(String, u64)> {
        self.0.lock().unwrap().refunded.clone()
    }

    pub(crate) fn restored(&self) -> Vec<String> {
        self.0.lock().unwrap().restored.clone()
    }

    pub(crate) fn asked(&self) -> u32 {
        self.0.lock().unwrap().asked
    }

    fn answer<T: Send + 'static>(&self, with: impl FnOnce(&mut Book) -> T) -> Answer<'_, T> {
        let mut book = self.0.lock().unwrap();
        book.asked += 1;
        let answer = book.failure.take().map_or_else(|| Ok(with(&mut book)), Err);
        Box::pin(std::future::ready(answer))
    }
}

impl Bank for FakeBank {
    fn charge(&self, charge: Charge) -> Answer<'_, String> {
        self.answer(|book| {
            if book.keys.insert(charge.key) {
                book.charged.push((charge.account, charge.amount));
            }
            "payment-1".to_owned()
        })
    }

    fn refund(&self, refund: Refund) -> Answer<'_, ()> {
        self.answer(|book| {
            if book.keys.insert(refund.key) {
                book.refunded.push((refund.account, refund.amount));
            }
        })
    }

    fn restore(&self, account: String) -> Answer<'_, ()> {
        self.answer(|book| book.restored.push(account))
    }
}
