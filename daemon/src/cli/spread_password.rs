//! `stentor spread-password`: a line for the file of the method PWORD.

use std::io::{self, BufRead};

use anyhow::{Context, anyhow};
use clap::Args;
use rand::RngExt;

use super::output::print;
use crate::spread::passwords::line;

#[derive(Args, Debug)]
#[command(
    after_help = "It reads the password, up to 8 bytes, from the first line of the standard input, and prints a \
    line with a salted hash for the file that [spread] passwords names.\n\n\
    Example:\n  stentor spread-password alice < secret >> spread.passwords"
)]
pub(crate) struct SpreadPasswordArgs {
    /// The name that the program gives.
    user: String,
}

pub(crate) fn run(args: &SpreadPasswordArgs) -> anyhow::Result<()> {
    let mut password = String::new();
    io::stdin().lock().read_line(&mut password).context("cannot read the password from standard input")?;
    let line = line(&args.user, password.trim_end_matches(['\n', '\r']), rand::rng().random());
    print(&format!("{}\n", line.map_err(|error| anyhow!(error))?))
}
