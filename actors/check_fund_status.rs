//! Step `check_fund_status`: a purchase needs a fund that is open. One lane and one state per fund.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tidegate::prelude::*;

use crate::events::{FundClosed, FundOpened, FundStatusChecked, FundsChecked, PurchaseRefused};
use crate::outcome;

/// Lets orders for open funds pass.
pub(crate) struct CheckFundStatus;

/// What it knows of one fund.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fund {
    open: bool,
}

impl Step for CheckFundStatus {
    const NAME: &'static str = "check_fund_status";
    type State = Fund;
}

impl On<FundOpened> for CheckFundStatus {
    type Emits = ();

    async fn on(&self, _: FundOpened, fund: &mut Fund, _: &StepContext) -> Result<(), StepError> {
        fund.open = true;
        Ok(())
    }
}

impl On<FundClosed> for CheckFundStatus {
    type Emits = ();

    async fn on(&self, _: FundClosed, fund: &mut Fund, _: &StepContext) -> Result<(), StepError> {
        fund.open = false;
        Ok(())
    }
}

impl On<FundsChecked> for CheckFundStatus {
    type Emits = Either<FundStatusChecked, PurchaseRefused>;

    fn key(event: &FundsChecked) -> Cow<'_, str> {
        (&event.fund).into()
    }

    async fn on(
        &self,
        event: FundsChecked,
        fund: &mut Fund,
        cx: &StepContext,
    ) -> Result<Self::Emits, StepError> {
        let FundsChecked { order, account, fund: name, amount, hold } = event;
        Ok(if fund.open {
            Either::Left(FundStatusChecked { order, account, fund: name, amount, hold })
        } else {
            Either::Right(outcome::refused(cx, order, account, "the fund is not open")?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> FundsChecked {
        let text = |text: &str| text.to_owned();
        FundsChecked {
            order: text("o1"),
            account: text("alice"),
            fund: text("world"),
            amount: 5,
            hold: text("h1"),
        }
    }

    #[tokio::test]
    async fn a_fund_takes_orders_from_its_opening_to_its_closing() {
        let cx = StepContext::for_test();
        let mut fund = Fund::default();

        let never_opened = CheckFundStatus.on(order(), &mut fund, &cx).await.unwrap();
        CheckFundStatus.on(FundOpened { fund: "world".to_owned() }, &mut fund, &cx).await.unwrap();
        let open = CheckFundStatus.on(order(), &mut fund, &cx).await.unwrap();
        CheckFundStatus.on(FundClosed { fund: "world".to_owned() }, &mut fund, &cx).await.unwrap();
        let closed = CheckFundStatus.on(order(), &mut fund, &cx).await.unwrap();

        assert!(matches!(never_opened, Either::Right(refused) if refused.reason == "the fund is not open"));
        assert!(matches!(open, Either::Left(checked) if checked.hold == "h1"));
        assert!(matches!(closed, Either::Right(_)));
        assert_eq!(cx.resolved().unwrap()["outcome"], "refused");
    }

    #[test]
    fn an_order_queues_behind_its_fund() {
        assert_eq!(<CheckFundStatus as On<FundsChecked>>::key(&order()), "world");
    }
}
