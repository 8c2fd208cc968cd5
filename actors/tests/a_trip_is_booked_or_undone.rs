//! Promise: the shipped trip is booked, or undone step by step, whatever comes in between.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

use std::path::Path;

use serde_json::{Value, json};
use tidegate::bus::view::FlowStatus;
use tidegate::testing::{CrashPoint, Harness};
use tidegate_actors::{AppSettings, steps};

fn harness() -> Harness {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let data = tempfile::tempdir().unwrap();
    Harness::from_config(steps(&AppSettings::default(), data.path()).unwrap(), &config)
}

fn book(h: &mut Harness, traveller: &str, hotel: &str) -> String {
    let trip = json!({"trip": "t1", "traveller": traveller, "hotel": hotel});
    let flow = h.publish_as("t1", "trip.requested", trip).flow.clone();
    h.run_until_idle();
    flow
}

/// The numbers of the flight and the hotel, as far as they are booked.
fn booked(h: &Harness) -> [Value; 2] {
    ["book_flight", "book_hotel"].map(|step| h.state(step, "t1")["number"].clone())
}

fn outcome(h: &Harness, flow: &str) -> Value {
    let result = h.flow(flow).result.map(|result| serde_json::from_str(result.get()).unwrap());
    result.unwrap_or(Value::Null)
}

fn assert_undone(h: &Harness, flow: &str) {
    h.assert_flow(flow, FlowStatus::Compensated);
    assert_eq!(booked(h), [Value::Null, Value::Null]);
    assert_eq!(outcome(h, flow), json!({"outcome": "undone", "trip": "t1"}));
    let place = |name: &str| h.flow(flow).events.iter().position(|event| event.name == name).unwrap();
    assert!(place("trip.hotel_cancellation_due") < place("trip.flight_cancellation_due"), "in reverse");
}

#[test]
fn a_trip_that_is_paid_is_booked_and_there_is_no_way_back() {
    let mut h = harness();

    let flow = book(&mut h, "ann", "inn");

    h.assert_flow(&flow, FlowStatus::Done);
    assert_eq!(booked(&h), [json!("flight-t1"), json!("inn-t1")]);
    assert_eq!(outcome(&h, &flow), json!({"outcome": "booked", "trip": "t1"}));
    assert!(h.try_cancel(&flow).is_err());
}

#[test]
fn a_card_that_is_refused_undoes_hotel_and_flight_in_this_order() {
    let mut h = harness();

    let flow = book(&mut h, "broke-ben", "inn");

    assert_undone(&h, &flow);
    assert!(h.dead_letters().is_empty());
}

#[test]
fn an_operator_cancels_a_trip_whose_payment_hangs() {
    let mut h = harness();
    let flow = book(&mut h, "slow-sue", "inn");
    h.assert_flow(&flow, FlowStatus::Processing);

    h.cancel(&flow);
    h.run_until_idle();

    assert_undone(&h, &flow);
}

#[test]
fn a_hotel_that_takes_no_cancellation_stops_the_undoing_until_a_person_has_called() {
    let mut h = harness();
    let flow = book(&mut h, "broke-ben", "strict-inn");
    h.assert_flow(&flow, FlowStatus::Stuck);
    assert_eq!(booked(&h), [json!("flight-t1"), json!("strict-inn-t1")]);

    let letter = h.dead_letters().remove(0);
    h.skip(&letter.id);
    h.run_until_idle();

    h.assert_flow(&flow, FlowStatus::Compensated);
    assert_eq!(booked(&h)[0], Value::Null);
}

#[test]
fn a_crash_in_the_middle_ends_the_same() {
    for step in ["book_flight", "book_hotel", "charge"] {
        for point in [CrashPoint::BeforeSettle(step.to_owned()), CrashPoint::AfterSettle(step.to_owned())] {
            let mut h = harness();
            h.crash_at(point.clone());
            let flow = book(&mut h, "broke-ben", "inn");
            assert!(h.has_crashed(), "{point:?}");

            h.restart();
            h.run_until_idle();

            assert_undone(&h, &flow);
        }
    }
}
