//! The bank: an outside system that the steps can only ask.
//!
//! It is simulated, with a ledger file of its own, so that what it has charged can be compared
//! with what the flows say. Like a real one it takes an idempotency key and answers a repeat as it
//! answered the first time. An account's name makes it behave badly:
//!
//! | account | paying for it |
//! |---|---|
//! | `outage-…` | times out, until `bank.restored` for it |
//! | `stolen-…` | is refused for good |
//! | `slow-…` | takes two seconds |
//! | `panic-…` | panics |

mod ledger;
mod simulated;
#[cfg(test)]
pub(crate) mod testing;

use std::fmt;
use std::pin::Pin;

use tidegate::StepError;

pub use simulated::LedgerBank;

/// The bank's answer, some time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, BankError>> + Send + 'a>>;

/// What a bank can be asked.
pub trait Bank: Send + Sync + fmt::Debug + 'static {
    /// Takes money from an account; answers the payment's name.
    ///
    /// # Guarantees
    /// Charges once for each `key`: a repeat answers the first payment again.
    ///
    /// # Errors
    /// See [`BankError`].
    fn charge(&self, charge: Charge) -> Answer<'_, String>;

    /// Sends a payment back.
    ///
    /// # Guarantees
    /// Once for each `key`, as [`Bank::charge`].
    ///
    /// # Errors
    /// See [`BankError`].
    fn refund(&self, refund: Refund) -> Answer<'_, ()>;

    /// Ends the outage of an account. Saying it twice is the same as once.
    ///
    /// # Errors
    /// [`BankError::Down`].
    fn restore(&self, account: String) -> Answer<'_, ()>;
}

/// A payment to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The idempotency key.
    pub key: String,
    /// Who pays.
    pub account: String,
    /// For which order.
    pub order: String,
    /// How much.
    pub amount: u64,
}

/// A payment to send back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// The idempotency key.
    pub key: String,
    /// The payment, as the bank has named it.
    pub payment: String,
    /// Who gets the money.
    pub account: String,
    /// For which order.
    pub order: String,
    /// How much.
    pub amount: u64,
}

/// Why the bank has not done it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BankError {
    /// No answer in time; try again.
    #[error("the bank timed out on account `{account}`; it works again after `bank.restored` for it")]
    TimedOut {
        /// The account.
        account: String,
    },
    /// The account is reported stolen; trying again is of no use.
    #[error("account `{account}` is reported stolen")]
    Stolen {
        /// The account.
        account: String,
    },
    /// The key was used for something else.
    #[error("key `{key}` was used before for another payment or refund")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// There is no such payment, it is of another amount or account, or it went back already.
    #[error("payment `{payment}` cannot be sent back: {problem}")]
    NotRefundable {
        /// The payment.
        payment: String,
        /// Why.
        problem: &'static str,
    },
    /// The bank itself has a problem; try again, and look at its ledger.
    #[error("the bank is down: {cause}")]
    Down {
        /// The problem.
        cause: String,
    },
}

impl BankError {
    /// What the error means for the event.
    pub(crate) fn into_step_error(self) -> StepError {
        let code = match &self {
            Self::TimedOut { .. } | Self::Down { .. } => return self.into(),
            Self::Stolen { .. } => "stolen",
            Self::KeyReused { .. } => "key_reused",
            Self::NotRefundable { .. } => "not_refundable",
        };
        StepError::fatal(code, self.to_string())
    }
}
