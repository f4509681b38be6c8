//! What messages and view changes cost in clusters of several sizes.

use std::io::Write;
use std::process::ExitCode;

use indicatif::ProgressBar;
use stentor_simulations::growth::{SIZES, measure, table};

use crate::say;

/// Measures clusters of these sizes, or of the usual ones, and prints a table.
pub(crate) fn print(sizes: &[u64]) -> ExitCode {
    let mut wanted: Vec<usize> = sizes.iter().filter_map(|size| usize::try_from(*size).ok()).collect();
    if wanted.is_empty() {
        wanted.extend(SIZES);
    }
    wanted.sort_unstable();
    wanted.dedup();
    let mut all = Vec::new();
    let bar = ProgressBar::new(wanted.len() as u64);
    for size in wanted {
        match measure(size) {
            Ok(growth) => all.push(growth),
            Err(violation) => {
                bar.finish_and_clear();
                let _ = writeln!(std::io::stderr(), "nothing can be said of {size} daemons: {violation}");
                return ExitCode::FAILURE;
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    say(&table(&all));
    ExitCode::SUCCESS
}
