//! What the bus tells people: the bodies of DESIGN section 11, read from the store and from what runs now.

mod desk;
mod flows;
mod letters;

pub use desk::*;
pub use flows::*;
pub use letters::*;
