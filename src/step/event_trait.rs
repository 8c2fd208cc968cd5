//! The `Event` trait: what makes a struct an event.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A fact that happened, with a global name.
///
/// The struct is the payload: it is stored and sent as JSON. Name it in the past tense. Whoever publishes
/// it does not know who listens.
///
/// # Guarantees
/// A step gets only payloads that decode into the type; others become dead letters (`undecodable`) whose
/// error names the field. A field added later needs `#[serde(default)]`, since events stored before do not
/// have it.
///
/// # Examples
/// ```
/// use std::borrow::Cow;
/// use serde::{Deserialize, Serialize};
/// use tidegate::Event;
///
/// #[derive(Debug, Serialize, Deserialize)]
/// struct PaymentCompleted { order: String, account: String, amount: u64 }
///
/// impl Event for PaymentCompleted {
///     const NAME: &'static str = "payment.completed";
///     fn key(&self) -> Cow<'_, str> { (&self.account).into() }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "this type has no event name",
    note = "write `impl Event for {Self} {{ const NAME: &'static str = \"order.placed\"; }}`; it derives `Serialize` and `Deserialize`"
)]
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The event's name: dotted lower case, past tense, at most 200 bytes, not under `tidegate.`.
    const NAME: &'static str;

    /// The key that orders it: events of one key are handled one at a time, in order; other keys run in
    /// parallel. Empty (the default) when the event has none.
    ///
    /// A publisher who names a key himself (`partitionkey`) overrides it on the envelope.
    ///
    /// # Guarantees
    /// Called with a decoded event only; must be a function of the event alone.
    fn key(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }
}
