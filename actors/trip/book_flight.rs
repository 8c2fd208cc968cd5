//! Step `book_flight`: books the flight of a trip, and cancels it when the trip is undone.

use tidegate::prelude::*;

use super::{Booking, FlightBooked, FlightCancellationDue, TripRequested};

/// Books flights.
pub(crate) struct BookFlight;

impl Step for BookFlight {
    const NAME: &'static str = "book_flight";
    type State = Booking;
}

impl On<TripRequested> for BookFlight {
    type Emits = FlightBooked;

    async fn on(
        &self,
        event: TripRequested,
        booking: &mut Booking,
        cx: &StepContext,
    ) -> Result<FlightBooked, StepError> {
        let TripRequested { trip, traveller, hotel } = event;
        let number = format!("flight-{trip}");
        cx.undo(FlightCancellationDue { trip: trip.clone(), booking: number.clone() })?;
        booking.number = Some(number);
        Ok(FlightBooked { trip, traveller, hotel })
    }
}

impl On<FlightCancellationDue> for BookFlight {
    type Emits = ();

    async fn on(
        &self,
        event: FlightCancellationDue,
        booking: &mut Booking,
        cx: &StepContext,
    ) -> Result<(), StepError> {
        booking.number = None;
        cx.resolve(&serde_json::json!({"outcome": "undone", "trip": event.trip}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_booking_says_how_it_is_undone() {
        let cx = StepContext::for_test();
        let mut booking = Booking::default();
        let text = |text: &str| text.to_owned();
        let asked = TripRequested { trip: text("t1"), traveller: text("ann"), hotel: text("inn") };

        BookFlight.on(asked, &mut booking, &cx).await.unwrap();

        let undo =
            ("trip.flight_cancellation_due", serde_json::json!({"trip": "t1", "booking": "flight-t1"}));
        assert_eq!((cx.undos(), cx.is_pivot()), (vec![undo], false));
        assert_eq!(booking.number.as_deref(), Some("flight-t1"));
        let due = FlightCancellationDue { trip: text("t1"), booking: text("flight-t1") };
        BookFlight.on(due, &mut booking, &cx).await.unwrap();
        assert_eq!(booking, Booking::default());
    }
}
