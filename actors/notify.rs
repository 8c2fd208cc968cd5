//! Step `notify`: tells the person how the order has ended. The message is simulated: it shows as the
//! delivery's progress.

use tidegate::prelude::*;

use crate::events::{PurchaseCompleted, PurchaseRefused, RefundCompleted};

/// Tells people.
pub(crate) struct Notify;

impl Step for Notify {
    const NAME: &'static str = "notify";
    type State = ();
}

impl On<PurchaseCompleted> for Notify {
    type Emits = ();

    async fn on(&self, event: PurchaseCompleted, _state: &mut (), cx: &StepContext) -> Result<(), StepError> {
        cx.progress(format!("told {}: order {} brought {} shares", event.account, event.order, event.shares));
        Ok(())
    }
}

impl On<PurchaseRefused> for Notify {
    type Emits = ();

    async fn on(&self, event: PurchaseRefused, _state: &mut (), cx: &StepContext) -> Result<(), StepError> {
        cx.progress(format!("told {}: order {} was refused, {}", event.account, event.order, event.reason));
        Ok(())
    }
}

impl On<RefundCompleted> for Notify {
    type Emits = ();

    async fn on(&self, event: RefundCompleted, _state: &mut (), cx: &StepContext) -> Result<(), StepError> {
        cx.progress(format!("told {}: order {} was paid back, {}", event.account, event.order, event.reason));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_ending_is_told_with_its_order() {
        let text = |text: &str| text.to_owned();
        let (order, account, reason) = (text("o1"), text("alice"), text("the fund is not open"));
        let cx = StepContext::for_test();

        let refused =
            PurchaseRefused { order: order.clone(), account: account.clone(), reason: reason.clone() };
        Notify.on(refused, &mut (), &cx).await.unwrap();
        assert_eq!(cx.last_progress().unwrap(), "told alice: order o1 was refused, the fund is not open");

        let back = RefundCompleted {
            order: order.clone(),
            account: account.clone(),
            amount: 5,
            payment: text("p"),
            reason,
        };
        Notify.on(back, &mut (), &cx).await.unwrap();
        assert_eq!(cx.last_progress().unwrap(), "told alice: order o1 was paid back, the fund is not open");

        let completed = PurchaseCompleted { order, account, fund: text("world"), amount: 5, shares: 5 };
        Notify.on(completed, &mut (), &cx).await.unwrap();
        assert_eq!(cx.last_progress().unwrap(), "told alice: order o1 brought 5 shares");
    }
}
