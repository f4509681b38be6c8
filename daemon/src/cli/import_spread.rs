//! `stentor import-spread`: a configuration made from one of Spread.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;

use super::output::print;
use crate::config::ClusterName;
use crate::spread::import::{Wish, translate};

#[derive(Args, Debug)]
#[command(
    after_help = "It prints the configuration of one daemon, ready to use once `stentor init` has made the \
    keys; comments in front say how, and what of Spread's configuration has no counterpart. SPREAD.md tells how to move \
    a running system.\n\n\
    Examples:\n  stentor import-spread /etc/spread.conf\n  \
    stentor import-spread /etc/spread.conf --daemon machine2 > machine2.toml"
)]
pub(crate) struct ImportSpreadArgs {
    /// The configuration file of Spread.
    file: PathBuf,
    /// Whose configuration to print: a daemon's name in the file, or here [default: the first].
    #[arg(long, value_name = "NAME")]
    daemon: Option<String>,
    /// The list of addresses for the method IP.
    #[arg(long, value_name = "FILE")]
    access_ip: Option<PathBuf>,
    /// The name of the cluster, which all its daemons share.
    #[arg(long, default_value_t = ClusterName::default())]
    cluster: ClusterName,
}

pub(crate) fn run(args: &ImportSpreadArgs) -> anyhow::Result<()> {
    let conf = read(&args.file)?;
    let access_ip = args.access_ip.as_deref().map(read).transpose()?;
    let wish = Wish {
        conf: &conf,
        access_ip: access_ip.as_deref(),
        daemon: args.daemon.as_deref(),
        cluster: &args.cluster,
    };
    let config = translate(&wish).map_err(|error| anyhow!("{}: {error}", args.file.display()))?;
    print(&config)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    // Comments may be in any encoding.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
