//! Step `audit`: counts and sums everything that happens to purchases, per account. It takes any event, so
//! a new event of the flow is counted without a change here.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate::event::Envelope;
use tidegate::prelude::*;

/// Counts and sums.
pub(crate) struct Audit;

/// What has happened to one account's purchases.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Book {
    /// Events so far.
    events: u64,
    /// By event name.
    by_name: BTreeMap<String, Line>,
}

/// Events of one name.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// How many.
    count: u64,
    /// The sum of their `amount`, where they have one.
    amount: u64,
}

/// The fields that the audit reads of any event.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    account: Option<Cow<'a, str>>,
    #[serde(default)]
    amount: Option<u64>,
}

impl Step for Audit {
    const NAME: &'static str = "audit";
    type State = Book;
}

impl OnAny for Audit {
    type Emits = ();

    fn key(event: &Envelope) -> Cow<'_, str> {
        // By the account in the data, since a publisher may have named another key.
        fields(event).and_then(|fields| fields.account).unwrap_or(Cow::Borrowed(&event.key))
    }

    async fn on_any(&self, event: &Envelope, book: &mut Book, _: &StepContext) -> Result<(), StepError> {
        let line = book.by_name.entry(event.name.to_string()).or_default();
        line.count += 1;
        let amount = fields(event).and_then(|fields| fields.amount).unwrap_or_default();
        line.amount = line.amount.saturating_add(amount);
        book.events += 1;
        Ok(())
    }
}

fn fields(event: &Envelope) -> Option<Fields<'_>> {
    // An audit counts what it cannot read, too.
    serde_json::from_slice(&event.data).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate::event::EventName;
    use tidegate::step::TestContext;

    use super::*;

    fn event(name: &str, data: &'static str) -> Envelope {
        let mut event = TestContext::new().event;
        event.name = EventName::new(name).unwrap();
        event.data = data.as_bytes().into();
        event.key = "published".to_owned();
        event
    }

    #[tokio::test]
    async fn events_are_counted_and_amounts_summed_by_name() {
        let mut book = Book::default();
        let cx = StepContext::for_test();

        for (name, data) in [
            ("purchase.submitted", r#"{"account":"alice","amount":5}"#),
            ("purchase.submitted", r#"{"account":"alice","amount":7}"#),
            ("purchase.refused", r#"{"account":"alice"}"#),
            ("purchase.strange", "no json"),
        ] {
            Audit.on_any(&event(name, data), &mut book, &cx).await.unwrap();
        }

        let expected = json!({"events": 4, "by_name": {
            "purchase.submitted": {"count": 2, "amount": 12},
            "purchase.refused": {"count": 1, "amount": 0},
            "purchase.strange": {"count": 1, "amount": 0},
        }});
        assert_eq!(serde_json::to_value(&book).unwrap(), expected);
    }

    #[test]
    fn the_account_in_the_data_is_the_key_and_the_publishers_where_there_is_none() {
        assert_eq!(Audit::key(&event("purchase.submitted", r#"{"account":"al\u0069ce"}"#)), "alice");
        assert_eq!(Audit::key(&event("purchase.strange", "no json")), "published");
    }
}
