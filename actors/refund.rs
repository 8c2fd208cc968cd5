//! Step `refund`: has the bank send a payment back.

use std::sync::Arc;

use tidegate::prelude::*;

use crate::bank::{Bank, BankError, Refund as Back};
use crate::events::{RefundCompleted, RefundInitiated};
use crate::outcome;

/// Sends payments back.
pub(crate) struct Refund {
    /// The bank.
    pub(crate) bank: Arc<dyn Bank>,
}

impl Step for Refund {
    const NAME: &'static str = "refund";
    type State = ();
}

impl On<RefundInitiated> for Refund {
    type Emits = RefundCompleted;

    async fn on(
        &self,
        event: RefundInitiated,
        _state: &mut (),
        cx: &StepContext,
    ) -> Result<RefundCompleted, StepError> {
        let RefundInitiated { order, account, amount, payment, reason } = event;
        let back = Back {
            key: cx.effect_key("refund"),
            payment: payment.clone(),
            account: account.clone(),
            order: order.clone(),
            amount,
        };
        cx.run("refund", async { self.bank.refund(back).await.map_err(BankError::into_step_error) }).await?;
        outcome::refunded(cx, &order, &reason)?;
        Ok(RefundCompleted { order, account, amount, payment, reason })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bank::testing::FakeBank;

    #[tokio::test]
    async fn a_payment_goes_back_once_and_the_order_is_refunded() {
        let bank = FakeBank::new();
        let refund = Refund { bank: bank.as_bank() };
        let cx = StepContext::for_test();
        let text = |text: &str| text.to_owned();
        let event = || RefundInitiated {
            order: text("o1"),
            account: text("alice"),
            amount: 5,
            payment: text("payment-1"),
            reason: text("the fund closed"),
        };

        refund.on(event(), &mut (), &cx).await.unwrap();
        let again = cx.next_attempt();
        let completed = refund.on(event(), &mut (), &again).await.unwrap();

        assert_eq!(completed.payment, "payment-1");
        assert_eq!(bank.refunded(), [("alice".to_owned(), 5)]);
        let expected = json!({"outcome": "refunded", "order": "o1", "reason": "the fund closed"});
        assert_eq!(again.resolved(), Some(expected));
    }
}
