//! The application: the steps of the fund purchase, and of a small trip that shows how a flow is undone.
//!
//! To add a step: write it into a file of its own beside the others, add its two lines here (`mod`, and its
//! place in [`steps`]), and bind it to events in `config/topology.toml`. No other step changes.

mod allot_shares;
mod audit;
mod bank;
mod check_account;
mod check_fund_status;
mod check_funds;
pub mod events;
mod notify;
mod outcome;
mod pay;
mod refund;
mod restore_bank;
mod settings;
pub mod trip;

use std::path::Path;
use std::sync::Arc;

use tidegate::Registry;
use tidegate::step::RegistryError;

pub use bank::{Answer, Bank, BankError, Charge, LedgerBank, Refund};
pub use settings::{AppSettings, BankSettings};

use events::{
    AccountChecked, AccountOpened, BankRestored, FundClosed, FundOpened, FundStatusChecked, FundsChecked,
    PaymentCompleted, PurchaseCompleted, PurchaseRefused, PurchaseSubmitted, RefundCompleted,
    RefundInitiated,
};

/// Every step of the application.
///
/// Touches no file: the bank opens its ledger in `data_dir` when it is first asked.
///
/// # Errors
/// [`RegistryError`] when the list itself is wrong, with everything that is.
pub fn steps(settings: &AppSettings, data_dir: &Path) -> Result<Registry, RegistryError> {
    let bank = || -> Arc<dyn Bank> { Arc::new(LedgerBank::new(data_dir, settings.bank.latency)) };
    steps_with(&bank())
}

/// The same steps with a bank of the caller's, for tests.
///
/// # Errors
/// As [`steps`].
pub fn steps_with(bank: &Arc<dyn Bank>) -> Result<Registry, RegistryError> {
    let bank = || Arc::clone(bank);
    trip::register(Registry::new())
        .step(check_account::CheckAccount)
        .on::<AccountOpened>()
        .on::<PurchaseSubmitted>()
        .step(check_funds::CheckFunds)
        .on::<AccountOpened>()
        .on::<AccountChecked>()
        .on::<PaymentCompleted>()
        .on::<PurchaseRefused>()
        .on::<RefundCompleted>()
        .step(check_fund_status::CheckFundStatus)
        .on::<FundOpened>()
        .on::<FundClosed>()
        .on::<FundsChecked>()
        .step(pay::Pay { bank: bank() })
        .on::<FundStatusChecked>()
        .step(allot_shares::AllotShares)
        .on::<FundOpened>()
        .on::<FundClosed>()
        .on::<PaymentCompleted>()
        .step(refund::Refund { bank: bank() })
        .on::<RefundInitiated>()
        .step(notify::Notify)
        .on::<PurchaseCompleted>()
        .on::<PurchaseRefused>()
        .on::<RefundCompleted>()
        .step(restore_bank::RestoreBank { bank: bank() })
        .on::<BankRestored>()
        .step(audit::Audit)
        .on_any()
        .check()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_steps_is_sound_and_touches_no_file() {
        let data = tempfile::tempdir().unwrap();

        let steps = steps(&AppSettings::default(), data.path()).unwrap();

        assert_eq!(steps.names().len(), 12);
        assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0);
    }
}
