//! Step `restore_bank`: tells the simulated bank that an account's outage is over.
//!
//! Payments that have become dead letters meanwhile are not touched: a person retries them.

use std::sync::Arc;

use tidegate::prelude::*;

use crate::bank::{Bank, BankError};
use crate::events::BankRestored;

/// Ends outages.
pub(crate) struct RestoreBank {
    /// The bank.
    pub(crate) bank: Arc<dyn Bank>,
}

impl Step for RestoreBank {
    const NAME: &'static str = "restore_bank";
    type State = ();
}

impl On<BankRestored> for RestoreBank {
    type Emits = ();

    async fn on(&self, event: BankRestored, _state: &mut (), _: &StepContext) -> Result<(), StepError> {
        // Needs no journaled result: saying it twice is the same as once.
        self.bank.restore(event.account).await.map_err(BankError::into_step_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::testing::FakeBank;

    #[tokio::test]
    async fn the_bank_is_told_which_account_works_again() {
        let bank = FakeBank::new();
        let step = RestoreBank { bank: bank.as_bank() };
        let event = BankRestored { account: "outage-1".to_owned() };

        step.on(event, &mut (), &StepContext::for_test()).await.unwrap();

        assert_eq!(bank.restored(), ["outage-1"]);
    }
}
