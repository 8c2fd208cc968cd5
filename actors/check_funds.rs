//! Step `check_funds`: keeps each account's money, and holds what an order needs.
//!
//! ```text
//!   account.opened ──> balance ──hold──> held ──payment completed──> paid
//!                         ^                │                           │
//!                         └─── refused ────┘<──── refund completed ────┘  (back to balance)
//! ```
//! Money only moves between the three, so `balance + held + paid` is always all that was put in. A hold
//! belongs to the flow that made it: what another flow says about the same order leaves it alone.
//!
//! While a payment is a dead letter its hold stays. A person who gives the order up publishes
//! `purchase.refused` for it with the flow's `correlationid`; that releases the hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate::prelude::*;

use crate::events::{
    AccountChecked, AccountOpened, FundsChecked, PaymentCompleted, PurchaseRefused, RefundCompleted,
};
use crate::outcome;

/// Holds the money that an order needs, settles the hold when it is paid, releases it when it is refused.
pub(crate) struct CheckFunds;

/// One account's money.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Funds {
    /// Free to be spent.
    balance: u64,
    /// Held for open orders; the sum of `holds`.
    held: u64,
    /// Paid for shares.
    paid: u64,
    /// The open holds, by order.
    holds: BTreeMap<String, Hold>,
}

/// Money held for one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hold {
    amount: u64,
    flow: String,
}

impl Funds {
    fn deposit(&mut self, amount: u64) -> Result<(), StepError> {
        // With the total in range no later move between the three can overflow.
        let total =
            [self.balance, self.held, self.paid].iter().try_fold(amount, |sum, part| sum.checked_add(*part));
        if total.is_none() {
            return Err(StepError::fatal("overflow", "the account would hold more than can be counted"));
        }
        self.balance += amount;
        Ok(())
    }

    /// Holds `amount` for the order; false when there is not enough.
    fn hold(&mut self, order: &str, amount: u64, flow: &str) -> bool {
        let Some(rest) = self.balance.checked_sub(amount) else { return false };
        self.balance = rest;
        self.held += amount;
        self.holds.insert(order.to_owned(), Hold { amount, flow: flow.to_owned() });
        true
    }

    /// Takes the order's hold of this flow away and gives its amount, which is in no pot until the caller
    /// puts it into one.
    fn take_hold(&mut self, order: &str, flow: &str) -> Option<u64> {
        self.holds.get(order).filter(|hold| hold.flow == flow)?;
        let hold = self.holds.remove(order)?;
        self.held -= hold.amount;
        Some(hold.amount)
    }
}

impl Step for CheckFunds {
    const NAME: &'static str = "check_funds";
    type State = Funds;
}

impl On<AccountOpened> for CheckFunds {
    type Emits = ();

    async fn on(&self, event: AccountOpened, funds: &mut Funds, _: &StepContext) -> Result<(), StepError> {
        funds.deposit(event.balance)
    }
}

impl On<AccountChecked> for CheckFunds {
    type Emits = Option<Either<FundsChecked, PurchaseRefused>>;

    async fn on(
        &self,
        event: AccountChecked,
        funds: &mut Funds,
        cx: &StepContext,
    ) -> Result<Self::Emits, StepError> {
        let AccountChecked { order, account, fund, amount } = event;
        if funds.holds.contains_key(&order) {
            // Another flow of the same order is under way. It says how the order ends; this one stays mute.
            outcome::turned_down(cx, &order, "the order is under way already")?;
            return Ok(None);
        }
        if !funds.hold(&order, amount, cx.flow()) {
            let refused = outcome::refused(cx, order, account, "the account has not enough money")?;
            return Ok(Some(Either::Right(refused)));
        }
        let hold = format!("hold-{order}");
        Ok(Some(Either::Left(FundsChecked { order, account, fund, amount, hold })))
    }
}

impl On<PaymentCompleted> for CheckFunds {
    type Emits = ();

    async fn on(
        &self,
        event: PaymentCompleted,
        funds: &mut Funds,
        cx: &StepContext,
    ) -> Result<(), StepError> {
        let Some(amount) = funds.take_hold(&event.order, cx.flow()) else {
            let message =
                format!("payment `{}` of order `{}` finds no hold to settle", event.payment, event.order);
            return Err(StepError::fatal("hold", message));
        };
        funds.paid += amount;
        Ok(())
    }
}

impl On<PurchaseRefused> for CheckFunds {
    type Emits = ();

    async fn on(&self, event: PurchaseRefused, funds: &mut Funds, cx: &StepContext) -> Result<(), StepError> {
        // An order that is refused before the hold has none: nothing to do.
        funds.balance += funds.take_hold(&event.order, cx.flow()).unwrap_or_default();
        Ok(())
    }
}

impl On<RefundCompleted> for CheckFunds {
    type Emits = ();

    async fn on(&self, event: RefundCompleted, funds: &mut Funds, _: &StepContext) -> Result<(), StepError> {
        let Some(rest) = funds.paid.checked_sub(event.amount) else {
            let message = format!("refund of order `{}` is more than was ever paid", event.order);
            return Err(StepError::fatal("refund", message));
        };
        funds.paid = rest;
        funds.balance += event.amount;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate::step::TestContext;

    use super::*;

    fn checked(order: &str, amount: u64) -> AccountChecked {
        AccountChecked {
            order: order.to_owned(),
            account: "alice".to_owned(),
            fund: "world".to_owned(),
            amount,
        }
    }

    fn completed(order: &str, amount: u64) -> PaymentCompleted {
        PaymentCompleted {
            order: order.to_owned(),
            account: "alice".to_owned(),
            fund: "world".to_owned(),
            amount,
            hold: format!("hold-{order}"),
            payment: "payment-1".to_owned(),
        }
    }

    fn refused(order: &str) -> PurchaseRefused {
        PurchaseRefused { order: order.to_owned(), account: "alice".to_owned(), reason: "no".to_owned() }
    }

    fn refunded(order: &str, amount: u64) -> RefundCompleted {
        let payment = "payment-1".to_owned();
        RefundCompleted {
            order: order.to_owned(),
            account: "alice".to_owned(),
            amount,
            payment,
            reason: "no".to_owned(),
        }
    }

    fn flow(name: &str) -> StepContext {
        let mut test = TestContext::new();
        name.clone_into(&mut test.event.flow);
        test.build()
    }

    async fn open(balance: u64) -> Funds {
        let mut funds = Funds::default();
        let opened = AccountOpened { account: "alice".to_owned(), balance };
        CheckFunds.on(opened, &mut funds, &flow("opening")).await.unwrap();
        funds
    }

    fn pots(funds: &Funds) -> (u64, u64, u64) {
        (funds.balance, funds.held, funds.paid)
    }

    #[tokio::test]
    async fn a_good_order_goes_from_balance_to_held_to_paid() {
        let mut funds = open(100).await;
        let cx = flow("f1");

        let emitted = CheckFunds.on(checked("o1", 30), &mut funds, &cx).await.unwrap();
        assert!(matches!(emitted, Some(Either::Left(checked)) if checked.hold == "hold-o1"));
        assert_eq!(pots(&funds), (70, 30, 0));

        CheckFunds.on(completed("o1", 30), &mut funds, &cx).await.unwrap();
        assert_eq!(
            serde_json::to_value(&funds).unwrap(),
            json!({"balance": 70, "held": 0, "paid": 30, "holds": {}})
        );

        CheckFunds.on(refunded("o1", 30), &mut funds, &cx).await.unwrap();
        assert_eq!(pots(&funds), (100, 0, 0));
    }

    #[tokio::test]
    async fn an_order_over_the_balance_is_refused_and_its_refusal_moves_nothing() {
        let mut funds = open(100).await;
        let cx = flow("f1");

        let emitted = CheckFunds.on(checked("o1", 101), &mut funds, &cx).await.unwrap();
        CheckFunds.on(refused("o1"), &mut funds, &cx).await.unwrap();

        assert!(matches!(emitted, Some(Either::Right(refused)) if refused.order == "o1"));
        assert_eq!(cx.resolved().unwrap()["outcome"], "refused");
        assert_eq!(pots(&funds), (100, 0, 0));
    }

    #[tokio::test]
    async fn a_second_flow_of_an_open_order_moves_no_money() {
        let mut funds = open(100).await;
        let (first, second) = (flow("f1"), flow("f2"));
        CheckFunds.on(checked("o1", 30), &mut funds, &first).await.unwrap();

        let emitted = CheckFunds.on(checked("o1", 30), &mut funds, &second).await.unwrap();
        CheckFunds.on(refused("o1"), &mut funds, &second).await.unwrap();
        CheckFunds.on(completed("o1", 30), &mut funds, &second).await.unwrap_err();

        assert_eq!(emitted, None);
        assert_eq!(second.resolved().unwrap()["reason"], "the order is under way already");
        assert_eq!(pots(&funds), (70, 30, 0));
    }

    #[tokio::test]
    async fn money_that_cannot_be_accounted_for_waits_for_a_person() {
        let mut funds = open(100).await;
        let before = funds.clone();
        let cx = flow("f1");
        let opened = AccountOpened { account: "alice".to_owned(), balance: u64::MAX };

        for (error, expected) in [
            (CheckFunds.on(completed("o1", 1), &mut funds, &cx).await.unwrap_err(), "hold"),
            (CheckFunds.on(refunded("o1", 1), &mut funds, &cx).await.unwrap_err(), "refund"),
            (CheckFunds.on(opened, &mut funds, &cx).await.unwrap_err(), "overflow"),
        ] {
            assert!(matches!(&error, StepError::Fatal { code, .. } if code == expected), "{error}");
        }
        assert_eq!(funds, before);
    }

    #[tokio::test]
    async fn no_order_of_events_makes_or_loses_money() {
        let mut funds = Funds::default();
        let mut opened = 0;
        let mut seed: u64 = 0x5DEE_CE66;
        for round in 0..5_000_u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let draw = |shift: u32, bound: u64| (seed >> shift) % bound;
            let (order, amount, cx) = (draw(20, 8), draw(30, 50), flow(&format!("f{}", draw(40, 3))));
            let order = format!("o{order}");
            let before = funds.clone();
            let outcome = match draw(50, 6) {
                0 => {
                    opened += amount;
                    let event = AccountOpened { account: "alice".to_owned(), balance: amount };
                    CheckFunds.on(event, &mut funds, &cx).await
                }
                1 | 2 => CheckFunds.on(checked(&order, amount), &mut funds, &cx).await.map(drop),
                3 => CheckFunds.on(completed(&order, amount), &mut funds, &cx).await,
                4 => CheckFunds.on(refused(&order), &mut funds, &cx).await,
                _ => CheckFunds.on(refunded(&order, amount), &mut funds, &cx).await,
            };
            if outcome.is_err() {
                assert_eq!(funds, before, "round {round}");
            }
            assert_eq!(funds.balance + funds.held + funds.paid, opened, "round {round}: {funds:?}");
            assert_eq!(
                funds.held,
                funds.holds.values().map(|hold| hold.amount).sum::<u64>(),
                "round {round}"
            );
        }
        assert!(opened > 0 && funds.paid > 0);
    }
}
