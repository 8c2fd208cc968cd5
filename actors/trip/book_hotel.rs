//! Step `book_hotel`: books the hotel of a trip, and cancels it when the trip is undone.

use tidegate::prelude::*;

use super::{Booking, FlightBooked, HotelBooked, HotelCancellationDue};

/// Books hotels.
pub(crate) struct BookHotel;

impl Step for BookHotel {
    const NAME: &'static str = "book_hotel";
    type State = Booking;
}

impl On<FlightBooked> for BookHotel {
    type Emits = HotelBooked;

    async fn on(
        &self,
        event: FlightBooked,
        booking: &mut Booking,
        cx: &StepContext,
    ) -> Result<HotelBooked, StepError> {
        let FlightBooked { trip, traveller, hotel } = event;
        let number = format!("{hotel}-{trip}");
        cx.undo(HotelCancellationDue { trip: trip.clone(), booking: number.clone() })?;
        booking.number = Some(number);
        Ok(HotelBooked { trip, traveller })
    }
}

impl On<HotelCancellationDue> for BookHotel {
    type Emits = ();

    async fn on(
        &self,
        event: HotelCancellationDue,
        booking: &mut Booking,
        _: &StepContext,
    ) -> Result<(), StepError> {
        if event.booking.starts_with("strict-") {
            return Err(StepError::fatal("strict", "this hotel takes no cancellation; call them"));
        }
        booking.number = None;
        Ok(())
    }
}
