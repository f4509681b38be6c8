//! The `stentor` binary.

mod cli;
mod config;
mod driver;
mod transport;

fn main() {}
