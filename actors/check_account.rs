//! Step `check_account`: a purchase needs an account that was opened.

use serde::{Deserialize, Serialize};
use tidegate::prelude::*;

use crate::events::{AccountChecked, AccountOpened, PurchaseRefused, PurchaseSubmitted};
use crate::outcome;

/// Lets orders of known accounts pass.
pub(crate) struct CheckAccount;

/// What it knows of one account.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    opened: bool,
}

impl Step for CheckAccount {
    const NAME: &'static str = "check_account";
    type State = Account;
}

impl On<AccountOpened> for CheckAccount {
    type Emits = ();

    async fn on(&self, _: AccountOpened, account: &mut Account, _: &StepContext) -> Result<(), StepError> {
        account.opened = true;
        Ok(())
    }
}

impl On<PurchaseSubmitted> for CheckAccount {
    type Emits = Either<AccountChecked, PurchaseRefused>;

    async fn on(
        &self,
        event: PurchaseSubmitted,
        account: &mut Account,
        cx: &StepContext,
    ) -> Result<Self::Emits, StepError> {
        let PurchaseSubmitted { order, account: name, fund, amount } = event;
        let problem = match (account.opened, amount) {
            (false, _) => Some("the account is not open"),
            (true, 0) => Some("the amount is zero"),
            (true, _) => None,
        };
        Ok(match problem {
            Some(reason) => Either::Right(outcome::refused(cx, order, name, reason)?),
            None => Either::Left(AccountChecked { order, account: name, fund, amount }),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn submit(
        account: &mut Account,
        amount: u64,
        cx: &StepContext,
    ) -> Either<AccountChecked, PurchaseRefused> {
        let (order, name, fund) = ("o1".to_owned(), "alice".to_owned(), "world".to_owned());
        CheckAccount.on(PurchaseSubmitted { order, account: name, fund, amount }, account, cx).await.unwrap()
    }

    #[tokio::test]
    async fn an_order_of_an_open_account_passes() {
        let cx = StepContext::for_test();
        let mut account = Account::default();
        let opened = AccountOpened { account: "alice".to_owned(), balance: 10 };

        CheckAccount.on(opened, &mut account, &cx).await.unwrap();
        let outcome = submit(&mut account, 5, &cx).await;

        assert!(matches!(outcome, Either::Left(checked) if checked.amount == 5));
        assert_eq!(cx.resolved(), None);
    }

    #[tokio::test]
    async fn an_unknown_account_or_an_empty_order_is_refused() {
        for (mut account, amount, reason) in [
            (Account { opened: false }, 5, "the account is not open"),
            (Account { opened: true }, 0, "the amount is zero"),
        ] {
            let cx = StepContext::for_test();

            let outcome = submit(&mut account, amount, &cx).await;

            assert!(matches!(outcome, Either::Right(refused) if refused.reason == reason));
            assert_eq!(cx.resolved(), Some(json!({"outcome": "refused", "order": "o1", "reason": reason})));
        }
    }
}
