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
    type Emits = ();
    async fn on(&self, _: OrderPlaced, _: &mut (), cx: &StepContext) -> Result<(), StepError> {
        let kept_over_an_await = std::rc::Rc::new(1);
        cx.cancelled().await;
        drop(kept_over_an_await);
        Ok(())
    }
}

fn main() {}
