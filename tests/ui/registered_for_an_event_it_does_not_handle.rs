use serde::{Deserialize, Serialize};
use tidegate::prelude::*;

#[derive(Serialize, Deserialize)]
struct OrderPlaced {}
impl Event for OrderPlaced {
    const NAME: &'static str = "order.placed";
}

struct Greet;
impl Step for Greet {
    const NAME: &'static str = "greet";
    type State = ();
}

fn main() {
    let _ = Registry::new().step(Greet).on::<OrderPlaced>();
}
