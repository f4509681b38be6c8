//! What is left of an epoch that broke a promise.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::daemons::Daemons;
use super::epoch::{Epoch, Judgement};

/// Puts what the clients saw, what was done and what is wrong beside the logs of the daemons, and says where that is.
pub(crate) fn keep(
    daemons: &mut Daemons,
    epoch: &Epoch,
    judgement: &Judgement,
    wrong: &str,
) -> Result<PathBuf> {
    let dir = daemons.cluster.keep();
    let histories = dir.join("histories");
    fs::create_dir_all(&histories).with_context(|| format!("cannot make {}", histories.display()))?;
    for log in &judgement.logs {
        let name = format!("{}-{}-{}", log.run, log.member.session, log.member.daemon);
        // Session names may hold anything that can be seen.
        let file = fs::File::create(histories.join(name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")))?;
        let mut file = BufWriter::new(file);
        writeln!(file, "{} in run {}, settled: {}", log.member, log.run, log.settled)?;
        for entry in &log.entries {
            let at = entry.at.saturating_duration_since(epoch.begin).as_secs_f64();
            writeln!(file, "{at:10.6} {}", entry.what)?;
        }
        if !log.refused.is_empty() {
            writeln!(file, "refused: {:?}", log.refused)?;
        }
        file.flush()?;
    }
    let mut text = String::new();
    writeln!(text, "{wrong}\n\n{epoch}")?;
    fs::write(dir.join("violation.txt"), text)?;
    Ok(dir)
}
