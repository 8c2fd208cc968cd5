//! Bus: the central actor.

pub mod view;
