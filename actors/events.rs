//! Events: every fact of the fund purchase, in the order in which a good run publishes them.
//!
//! A step takes some of these and returns others; none knows who listens. The key is the account (for a
//! fund, the fund): events of one account are handled in order, those of different accounts in parallel.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tidegate::Event;

/// An account exists and has this much money. A second one for a known account is a deposit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountOpened {
    /// The account.
    pub account: String,
    /// The money put in, in the smallest unit of the currency.
    pub balance: u64,
}

impl Event for AccountOpened {
    const NAME: &'static str = "account.opened";
    fn key(&self) -> Cow<'_, str> {
        (&self.account).into()
    }
}

/// A fund takes purchases from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FundOpened {
    /// The fund.
    pub fund: String,
}

impl Event for FundOpened {
    const NAME: &'static str = "fund.opened";
    fn key(&self) -> Cow<'_, str> {
        (&self.fund).into()
    }
}

/// A fund takes no purchases any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FundClosed {
    /// The fund.
    pub fund: String,
}

impl Event for FundClosed {
    const NAME: &'static str = "fund.closed";
    fn key(&self) -> Cow<'_, str> {
        (&self.fund).into()
    }
}

/// The bank can pay for this account again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BankRestored {
    /// The account.
    pub account: String,
}

impl Event for BankRestored {
    const NAME: &'static str = "bank.restored";
    fn key(&self) -> Cow<'_, str> {
        (&self.account).into()
    }
}

/// A person wants to buy shares of a fund.
///
/// Publish it with the order as its event id (`Idempotency-Key: "order-1"`): then sending it again is safe at
/// any time. Under another id it is another purchase, once the first one has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurchaseSubmitted {
    /// The order, the business id of the flow.
    pub order: String,
    /// Who pays.
    pub account: String,
    /// What is bought.
    pub fund: String,
    /// For how much, in the smallest unit of the currency.
    pub amount: u64,
}

impl Event for PurchaseSubmitted {
    const NAME: &'static str = "purchase.submitted";
    fn key(&self) -> Cow<'_, str> {
        (&self.account).into()
    }
}

/// The account exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountChecked {
    /// The order, the business id of the flow.
    pub order: String,
    /// Who pays.
    pub account: String,
    /// What is bought.
    pub fund: String,
    /// For how much, in the smallest unit of the currency.
    pub amount: u64,
}

impl Event for AccountChecked {
    const NAME: &'static str = "purchase.account_checked";
    fn key(&self) -> Cow<'_, str> {
        (&self.account).into()
    }
}

/// The account has the money, and it is held for the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FundsChecked {
    /// The order, the business id of the flow.
    pub order: String,
    /// Who pays.
    pub account: String,
    /// What is bought.
    pub fund: String,
    /// For how much, in the smallest unit of the currency.
    pub amount: u64,
    /// The hold on the account's money.
    pub hold: String,
}

impl Event for FundsChecked {
    const NAME: &'static str = "purchase.funds_checked";
    fn key(&self) -> Cow<'_, str> {
        (&self.account).into()
    }
}

/// The fund is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FundStatusChecked {
    /// The order, the business id of the flow.
    pub order: String,
    /// Who pays.
    pub account: String,
    /// What is bought.
    pub fund: String,
    /// For how much, in the smallest unit of the currency.
    pub amount: u64,
    /// The hold on the account's money.
    pub hold: String,
}

impl Event for FundStatusChecked {
    const NAME: &'static str = "purchase.fund_status_checked";
    fn key(&self) -> Cow<'_, str> {
        (&self.account).into()
    }
}

/// The bank has paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCompleted {
    /// The order, the business id of the flow.
    pub order: String,
    /// Who pays.
    pub account: String,
    /// What is bought.
    pub fund: String,
    /// For how much, in the smallest unit of the currency.
    pub amount: u64,
    /// The hold on the account's money.
    pub hold: String,
    /// The bank's name for the payment.
    pub payment: String,
}

impl Event for PaymentCompleted {
    const NAME: &'static str = "purchase.payment_completed";
    fn key(&self) -> Cow<'_, str> {
        (&self.account).into()
    }
}

/// The shares are allotted: the order has ended well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurchaseCompleted {
    /// The order, the business id of the flow.
    pub order: String,
    /// Who pays.
    pub account: String,
    /// What is bought.
    pub fund: String,
    /// For how much, in the smallest unit of the currency.
    pub amount: u64,
    /// How many shares.
    pub shares: u64,
}

impl Event for PurchaseCompleted {
    const NAME: &'static str = "purchase.completed";
    fn key(&self) -> Cow<'_, str> {
        (&self.account).into()
    }
}

/// The order was turned down before anything was paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurchaseRefused {
    /// The order, the business id of the flow.
    pub order: String,
    /// Who pays.
    pub account: String,
    /// Why, for the person who ordered.
    pub reason: String,
}

impl Event for PurchaseRefused {
    const NAME: &'static str = "purchase.refused";
    fn key(&self) -> Cow<'_, str> {
        (&self.account).into()
    }
}

/// What was paid has to go back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundInitiated {
    /// The order, the business id of the flow.
    pub order: String,
    /// Who pays.
    pub account: String,
    /// For how much, in the smallest unit of the currency.
    pub amount: u64,
    /// The bank's name for the payment.
    pub payment: String,
    /// Why.
    pub reason: String,
}

impl Event for RefundInitiated {
    const NAME: &'static str = "purchase.refund_initiated";
    fn key(&self) -> Cow<'_, str> {
        (&self.account).into()
    }
}

/// What was paid is back: the order has ended without shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundCompleted {
    /// The order, the business id of the flow.
    pub order: String,
    /// Who pays.
    pub account: String,
    /// For how much, in the smallest unit of the currency.
    pub amount: u64,
    /// The bank's name for the payment.
    pub payment: String,
    /// Why.
    pub reason: String,
}

impl Event for RefundCompleted {
    const NAME: &'static str = "purchase.refund_completed";
    fn key(&self) -> Cow<'_, str> {
        (&self.account).into()
    }
}
