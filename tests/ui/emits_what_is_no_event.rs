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
impl On<OrderPlaced> for Greet {
    type Emits = String;
    async fn on(&self, _: OrderPlaced, _: &mut (), _: &StepContext) -> Result<String, StepError> {
        Ok("hello".to_owned())
    }
}

fn main() {}
