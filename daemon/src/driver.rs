//! The driver.

pub(crate) mod inbox;
