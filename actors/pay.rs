//! Step `pay`: has the bank pay for an order.
//!
//! The bank is asked with a key that is the same on every attempt, so it charges once however often it is
//! asked. What it answered is journaled before the step goes on.

use std::sync::Arc;

use tidegate::prelude::*;

use crate::bank::{Bank, BankError, Charge};
use crate::events::{FundStatusChecked, PaymentCompleted};

/// Pays.
pub(crate) struct Pay {
    /// The bank.
    pub(crate) bank: Arc<dyn Bank>,
}

impl Step for Pay {
    const NAME: &'static str = "pay";
    type State = ();
}

impl On<FundStatusChecked> for Pay {
    type Emits = PaymentCompleted;

    async fn on(
        &self,
        event: FundStatusChecked,
        _state: &mut (),
        cx: &StepContext,
    ) -> Result<PaymentCompleted, StepError> {
        let FundStatusChecked { order, account, fund, amount, hold } = event;
        let charge =
            Charge { key: cx.effect_key("charge"), account: account.clone(), order: order.clone(), amount };
        let payment = cx
            .run("charge", async { self.bank.charge(charge).await.map_err(BankError::into_step_error) })
            .await?;
        Ok(PaymentCompleted { order, account, fund, amount, hold, payment })
    }
}

#[cfg(test)]
mod tests {
    use tidegate::step::TestContext;

    use super::*;
    use crate::bank::testing::FakeBank;

    fn order(account: &str) -> FundStatusChecked {
        let text = |text: &str| text.to_owned();
        FundStatusChecked {
            order: text("o1"),
            account: text(account),
            fund: text("world"),
            amount: 5,
            hold: text("hold-o1"),
        }
    }

    #[tokio::test]
    async fn a_repeated_attempt_charges_once() {
        let bank = FakeBank::new();
        let pay = Pay { bank: bank.as_bank() };
        let test = TestContext::new();

        // The bank has charged, but the process died before that was noted.
        test.fail_next_record("charge");
        pay.on(order("alice"), &mut (), &test.build()).await.unwrap_err();
        let second = pay.on(order("alice"), &mut (), &test.build()).await.unwrap();
        let third = pay.on(order("alice"), &mut (), &test.build()).await.unwrap();

        assert_eq!(second, third);
        assert_eq!(bank.charged(), [("alice".to_owned(), 5)]);
        assert_eq!(bank.asked(), 2, "the third attempt takes the journaled answer");
    }

    #[tokio::test]
    async fn trouble_at_the_bank_says_what_happens_next() {
        let bank = FakeBank::new();
        let pay = Pay { bank: bank.as_bank() };
        let cx = StepContext::for_test();

        bank.fail_with(BankError::TimedOut { account: "outage-1".to_owned() });
        let outage = pay.on(order("outage-1"), &mut (), &cx).await.unwrap_err();
        bank.fail_with(BankError::Stolen { account: "stolen-1".to_owned() });
        let stolen = pay.on(order("stolen-1"), &mut (), &cx).await.unwrap_err();

        assert!(
            matches!(&outage, StepError::Retry { message, .. } if message.contains("outage-1")),
            "{outage}"
        );
        assert!(matches!(&stolen, StepError::Fatal { code, .. } if code == "stolen"), "{stolen}");
    }
}
