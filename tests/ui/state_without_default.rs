use serde::{Deserialize, Serialize};
use tidegate::prelude::*;

#[derive(Serialize, Deserialize)]
struct Seen {
    orders: u64,
}

struct Count;
impl Step for Count {
    const NAME: &'static str = "count";
    type State = Seen;
}

fn main() {}
