//! Step `charge`: charges the card for a trip. Behind it there is no way back.

use tidegate::prelude::*;

use super::HotelBooked;

/// Charges cards.
pub(crate) struct Charge;

impl Step for Charge {
    const NAME: &'static str = "charge";
    type State = ();
}

impl On<HotelBooked> for Charge {
    type Emits = ();

    async fn on(&self, event: HotelBooked, (): &mut (), cx: &StepContext) -> Result<(), StepError> {
        let HotelBooked { trip, traveller } = event;
        if traveller.starts_with("broke-") {
            return Err(StepError::abort("refused", "the card was refused"));
        }
        if traveller.starts_with("slow-") {
            return Err(StepError::retry("the card's bank does not answer"));
        }
        cx.pivot();
        cx.resolve(&serde_json::json!({"outcome": "booked", "trip": trip}))?;
        Ok(())
    }
}
