//! Trip: a small flow beside the fund purchase that shows how a flow is undone.
//!
//! ```text
//! trip.requested ─> book_flight ─> trip.flight_booked ─> book_hotel ─> trip.hotel_booked ─> charge
//!                       ^ undo: trip.flight_cancellation_due ^ undo: trip.hotel_cancellation_due   (no way back)
//! ```
//!
//! Each booking step says how what it has done is undone, and undoes it itself when that comes. `charge` is
//! the point of no return. A card that is refused, or an operator (`tidegate cancel-flow`), sends the flow
//! back: the hotel is cancelled, then the flight. To see trouble: a traveller named `broke-…` cannot pay, one
//! named `slow-…` is asked for again and again, a hotel named `strict-…` takes no cancellation.

mod book_flight;
mod book_hotel;
mod charge;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tidegate::{Event, Registry};

/// Adds the steps of the trip.
pub(crate) fn register(steps: Registry) -> Registry {
    steps
        .step(book_flight::BookFlight)
        .on::<TripRequested>()
        .on::<FlightCancellationDue>()
        .undoes::<FlightCancellationDue>()
        .step(book_hotel::BookHotel)
        .on::<FlightBooked>()
        .on::<HotelCancellationDue>()
        .undoes::<HotelCancellationDue>()
        .step(charge::Charge)
        .on::<HotelBooked>()
        .into()
}

/// What a step of the trip keeps of its booking, one for each trip.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Booking {
    /// Its number, while it stands.
    number: Option<String>,
}

macro_rules! trip_event {
    ($(#[$doc:meta])* $name:ident $text:literal { $($(#[$field_doc:meta])* $field:ident),+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            /// The trip, the business id of the flow.
            pub trip: String,
            $($(#[$field_doc])* pub $field: String),+
        }

        impl Event for $name {
            const NAME: &'static str = $text;
            fn key(&self) -> Cow<'_, str> {
                (&self.trip).into()
            }
        }
    };
}

trip_event! {
    /// A person wants to travel. Publish it with the trip as its event id.
    TripRequested "trip.requested" {
        /// Who travels, and pays.
        traveller,
        /// Where they sleep.
        hotel
    }
}
trip_event! {
    /// The flight is booked.
    FlightBooked "trip.flight_booked" {
        /// Who travels, and pays.
        traveller,
        /// Where they sleep.
        hotel
    }
}
trip_event! {
    /// The hotel is booked.
    HotelBooked "trip.hotel_booked" {
        /// Who travels, and pays.
        traveller
    }
}
trip_event! {
    /// The flight is to be cancelled.
    FlightCancellationDue "trip.flight_cancellation_due" {
        /// The airline's number.
        booking
    }
}
trip_event! {
    /// The hotel is to be cancelled.
    HotelCancellationDue "trip.hotel_cancellation_due" {
        /// The hotel's number.
        booking
    }
}
