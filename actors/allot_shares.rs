//! Step `allot_shares`: turns a payment into shares, or sends it back when the fund has closed meanwhile.
//! One lane and one state per fund.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tidegate::prelude::*;

use crate::events::{FundClosed, FundOpened, PaymentCompleted, PurchaseCompleted, RefundInitiated};
use crate::outcome;

/// What one share costs, the same for every fund of the simulation.
const SHARE_PRICE: u64 = 1;

/// Allots shares of open funds.
pub(crate) struct AllotShares;

/// What it knows of one fund.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fund {
    open: bool,
    /// Shares allotted so far.
    allotted: u64,
}

impl Step for AllotShares {
    const NAME: &'static str = "allot_shares";
    type State = Fund;
}

impl On<FundOpened> for AllotShares {
    type Emits = ();

    async fn on(&self, _: FundOpened, fund: &mut Fund, _: &StepContext) -> Result<(), StepError> {
        fund.open = true;
        Ok(())
    }
}

impl On<FundClosed> for AllotShares {
    type Emits = ();

    async fn on(&self, _: FundClosed, fund: &mut Fund, _: &StepContext) -> Result<(), StepError> {
        fund.open = false;
        Ok(())
    }
}

impl On<PaymentCompleted> for AllotShares {
    type Emits = Either<PurchaseCompleted, RefundInitiated>;

    fn key(event: &PaymentCompleted) -> Cow<'_, str> {
        (&event.fund).into()
    }

    async fn on(
        &self,
        event: PaymentCompleted,
        fund: &mut Fund,
        cx: &StepContext,
    ) -> Result<Self::Emits, StepError> {
        let PaymentCompleted { order, account, fund: name, amount, payment, hold: _ } = event;
        if !fund.open {
            let reason = "the fund closed before the shares were allotted".to_owned();
            return Ok(Either::Right(RefundInitiated { order, account, amount, payment, reason }));
        }
        let shares = amount / SHARE_PRICE;
        fund.allotted = fund.allotted.saturating_add(shares);
        outcome::completed(cx, &order)?;
        Ok(Either::Left(PurchaseCompleted { order, account, fund: name, amount, shares }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paid() -> PaymentCompleted {
        let text = |text: &str| text.to_owned();
        PaymentCompleted {
            order: text("o1"),
            account: text("alice"),
            fund: text("world"),
            amount: 5,
            hold: text("hold-o1"),
            payment: text("payment-1"),
        }
    }

    #[tokio::test]
    async fn an_open_fund_allots_and_the_order_is_completed() {
        let cx = StepContext::for_test();
        let mut fund = Fund::default();
        AllotShares.on(FundOpened { fund: "world".to_owned() }, &mut fund, &cx).await.unwrap();

        let emitted = AllotShares.on(paid(), &mut fund, &cx).await.unwrap();

        assert!(matches!(emitted, Either::Left(completed) if completed.shares == 5));
        assert_eq!(cx.resolved(), Some(json!({"outcome": "completed", "order": "o1"})));
        assert_eq!(fund, Fund { open: true, allotted: 5 });
    }

    #[tokio::test]
    async fn a_fund_that_closed_meanwhile_sends_the_payment_back() {
        let cx = StepContext::for_test();
        let mut fund = Fund { open: true, allotted: 0 };
        AllotShares.on(FundClosed { fund: "world".to_owned() }, &mut fund, &cx).await.unwrap();

        let emitted = AllotShares.on(paid(), &mut fund, &cx).await.unwrap();

        assert!(
            matches!(emitted, Either::Right(refund) if refund.payment == "payment-1" && refund.amount == 5)
        );
        assert_eq!(cx.resolved(), None, "the refund ends the order, not its beginning");
        assert_eq!(<AllotShares as On<PaymentCompleted>>::key(&paid()), "world");
    }
}
