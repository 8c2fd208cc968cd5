use serde::{Deserialize, Serialize};
use tidegate::prelude::*;

#[derive(Serialize, Deserialize)]
struct OrderPlaced {}

struct Greet;
impl Step for Greet {
    const NAME: &'static str = "greet";
    type State = ();
}
impl On<OrderPlaced> for Greet {
    type Emits = ();
    async fn on(&self, _: OrderPlaced, _: &mut (), _: &StepContext) -> Result<(), StepError> {
        Ok(())
    }
}

fn main() {}
