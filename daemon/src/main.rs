//! The `stentor` binary.

mod cli;
mod config;
mod transport;

fn main() {}
