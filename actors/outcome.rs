//! How an order ends: the flow's result, which the poller gets.

use serde::Serialize;
use tidegate::prelude::*;

use crate::events::PurchaseRefused;

#[derive(Serialize)]
struct Ending<'a> {
    outcome: &'static str,
    order: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// The shares are allotted.
pub(crate) fn completed(cx: &StepContext, order: &str) -> Result<(), StepError> {
    cx.resolve(&Ending { outcome: "completed", order, reason: None })
}

/// The money is back.
pub(crate) fn refunded(cx: &StepContext, order: &str, reason: &str) -> Result<(), StepError> {
    cx.resolve(&Ending { outcome: "refunded", order, reason: Some(reason) })
}

/// The order is turned down, without an event: for a repeat of an order whose own flow goes on.
pub(crate) fn turned_down(cx: &StepContext, order: &str, reason: &str) -> Result<(), StepError> {
    cx.resolve(&Ending { outcome: "refused", order, reason: Some(reason) })
}

/// The order is turned down: resolves the flow and gives the event that says so.
pub(crate) fn refused(
    cx: &StepContext,
    order: String,
    account: String,
    reason: &str,
) -> Result<PurchaseRefused, StepError> {
    turned_down(cx, &order, reason)?;
    Ok(PurchaseRefused { order, account, reason: reason.to_owned() })
}
