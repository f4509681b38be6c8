//! The `stentor` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    stentor::main()
}
