use serde::{Deserialize, Serialize};
use tidegate::prelude::*;

#[derive(Serialize, Deserialize)]
struct OrderPlaced {}
impl Event for OrderPlaced {
    const NAME: &'static str = "order.placed";
}

struct Greet;
impl On<OrderPlaced> for Greet {
    type Emits = ();
    async fn on(&self, _: OrderPlaced, _: &mut (), _: &StepContext) -> Result<(), StepError> {
        Ok(())
    }
}

fn main() {}
