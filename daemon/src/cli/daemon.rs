//! `stentor daemon`: check the configuration, open the doors, run until told to stop.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use rand::RngExt;
use stentor_membership::DaemonId;
use tokio::sync::mpsc;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use super::heap::keep_freed;
use super::open_files::raise_limit;
use super::output::print;
use crate::config::{Config, Network};
use crate::driver::inbox::{self, Input};
use crate::driver::{self, Driver};
use crate::metrics::Metrics;
use crate::session::{self, Server};
use crate::signals::Signals;
use crate::spread::Door;
use crate::spread::auth::Auth;
use crate::spread::names::Aliases;
use crate::spread::passwords::Passwords;
use crate::transport::board::Board;
use crate::transport::tls::Identity;
use crate::transport::{self, Transport};

#[derive(Args, Debug)]
#[command(
    after_help = "Without --config it runs as a cluster of one, named after the host, with its socket at \
    $XDG_RUNTIME_DIR/stentor/stentor.sock or /run/stentor/stentor.sock.\n\n\
    SIGTERM, SIGINT and SIGHUP stop it in order: programs are told, what they sent reaches the others, the \
    others are told. A second signal stops it at once.\n\n\
    Examples:\n  stentor daemon\n  stentor daemon --config cluster/a.toml\n  \
    stentor daemon --config cluster/a.toml --check-config\n  \
    stentor daemon --config cluster/a.toml --log info,stentor::driver=debug"
)]
pub(crate) struct DaemonArgs {
    /// The configuration file, as `stentor init` writes it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration, the keys and the certificates, say what is wrong, and stop.
    #[arg(long)]
    check_config: bool,
    /// Print the effective configuration with all defaults as TOML, and stop.
    #[arg(long)]
    print_config: bool,
    /// What to log: a level (error, warn, info, debug, trace), or levels by module [default: what the environment
    /// variable `RUST_LOG` says, or info].
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Log as JSON, one object a line.
    #[arg(long)]
    log_json: bool,
}

pub(crate) fn run(args: DaemonArgs) -> anyhow::Result<()> {
    init_log(args.log, args.log_json)?;
    let config = match &args.config {
        Some(path) => Config::load(path)?,
        None => Config::alone()?,
    };
    if args.print_config {
        return print(&config.to_toml().context("cannot print the configuration")?);
    }
    let identity = match &config.network {
        Some(network) => Some(Identity::load(&network.tls, config.name)?),
        None => None,
    };
    let passwords = match config.spread.as_ref().and_then(|spread| spread.passwords.as_ref()) {
        Some(path) => Passwords::load(path)?,
        None => Passwords::default(),
    };
    if args.check_config {
        session::check(&config.clients, config.spread.as_ref())?;
        return print(&format!("the configuration is good: {}\n", summary(&config)));
    }
    check_open_files(config.membership.max_sessions);
    keep_freed();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    let served = runtime.block_on(serve(config, identity, passwords));
    // A look-up of a host name, or the check of a password, may still go on in a thread: nobody waits for it any more.
    runtime.shutdown_background();
    served
}

/// Logs to standard error.
fn init_log(filter: Option<String>, json: bool) -> anyhow::Result<()> {
    let filter = log_filter(filter, std::env::var_os(LOG_VARIABLE).filter(|value| !value.is_empty()))?;
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        log.json().init();
    } else {
        log.with_ansi(colours).init();
    }
    Ok(())
}

/// The environment variable with what to log.
const LOG_VARIABLE: &str = "RUST_LOG";

fn log_filter(option: Option<String>, variable: Option<OsString>) -> anyhow::Result<EnvFilter> {
    let (origin, filter) = match (option, variable) {
        (Some(filter), _) => ("--log", filter),
        (None, Some(value)) => (LOG_VARIABLE, value.to_string_lossy().into_owned()),
        (None, None) => return Ok(EnvFilter::new("info")),
    };
    EnvFilter::try_new(&filter).map_err(|error| {
        anyhow!("{origin} {filter:?}: {error}; write a level like \"info\", or \"info,stentor=debug\"")
    })
}

fn summary(config: &Config) -> String {
    let daemons = config.membership.daemons.len();
    format!("daemon {} of cluster {}, {daemons} daemon(s) in all", config.name, config.cluster)
}

/// Files that a daemon has open beside its connections to programs.
const OWN_FILES: usize = 64;

/// Every connection needs a socket.
fn check_open_files(max_sessions: usize) {
    let needed = max_sessions.saturating_add(session::CONNECTIONS_BESIDE + OWN_FILES);
    let needed = u64::try_from(needed).unwrap_or(u64::MAX);
    if let Some(limit) = raise_limit().filter(|limit| *limit < needed) {
        warn!(
            limit,
            needed,
            "the system allows fewer open files than [clients] max_sessions needs: raise its limit (ulimit -n, or \
             LimitNOFILE= of systemd)"
        );
    }
}

/// How long closing connections may take, on either side of the daemon.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes that may wait for a peer beyond what the protocol makes wait: what daemons tell each other when they agree
/// on a view.
const LINK_SLACK: usize = 16 << 20;

/// A silent connection lives longer than the protocol waits for a peer.
const IDLE_SLACK: Duration = Duration::from_secs(5);

async fn serve(config: Config, identity: Option<Identity>, passwords: Passwords) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let id = DaemonId { name: config.name, incarnation: rand::rng().random() };
    let (sender, receiver) = mpsc::channel(inbox::CAPACITY);
    let (board, metrics) = (Board::default(), Metrics::default());
    info!(
        daemon = %id.name,
        incarnation = format!("{:x}", id.incarnation),
        cluster = %config.cluster,
        version = env!("CARGO_PKG_VERSION"),
        "starting"
    );
    let aliases = Aliases::default();
    let driver = Driver::new(driver_settings(&config, id, &aliases, &board, &metrics))?;
    // The doors for programs first: if there is another daemon, this is where it shows.
    let spread = config.spread.as_ref().map(|spread| {
        let auth = Auth { rules: spread.rules.clone(), passwords };
        (spread, Door { auth, aliases })
    });
    let server = Server::start(&config.clients, spread, session_context(&config, &sender, &metrics)).await?;
    let transport = match (&config.network, identity) {
        (Some(network), Some(identity)) => {
            let settings = transport_settings(&config, network, identity, id, metrics);
            Some(Transport::start(settings, board, sender.clone())?)
        }
        (None, _) | (_, None) => None,
    };

    let stop_server = server.stop();
    let driver = tokio::spawn(driver.run(receiver));
    tokio::spawn(async move {
        signals.first().await;
        stop_server.cancel();
        // The driver is gone: then there is nothing to stop.
        let _ = sender.send(Input::Shutdown).await;
        signals.exit_at_second().await;
    });

    let mut inbox = driver.await.context("the driver failed")?;
    // Whoever still reports is not kept waiting, so that links can write their last.
    let discard = tokio::spawn(async move { while inbox.recv().await.is_some() {} });
    let failed = transport.as_ref().is_some_and(Transport::has_failed);
    let transport = async {
        if let Some(transport) = transport {
            transport.close(CLOSE_PATIENCE).await;
        }
    };
    tokio::join!(transport, server.close(CLOSE_PATIENCE));
    discard.abort();
    anyhow::ensure!(
        !failed,
        "the UDP socket for peers failed: start this daemon again, once the network works"
    );
    info!("stopped");
    Ok(())
}

fn driver_settings(
    config: &Config,
    id: DaemonId,
    aliases: &Aliases,
    board: &Board,
    metrics: &Metrics,
) -> driver::Settings {
    let configured = match &config.network {
        Some(network) => network.daemons.iter().map(|(name, at)| (*name, at.to_string())).collect(),
        None => vec![(config.name, "(alone)".to_owned())],
    };
    driver::Settings {
        id,
        seed: rand::rng().random(),
        membership: config.membership.clone(),
        configured,
        session_queue_out: config.clients.session_queue_out,
        aliases: aliases.clone(),
        board: board.clone(),
        metrics: metrics.clone(),
    }
}

fn session_context(config: &Config, inbox: &mpsc::Sender<Input>, metrics: &Metrics) -> session::Context {
    session::Context {
        inbox: inbox.clone(),
        metrics: metrics.clone(),
        handshake_timeout: config.clients.handshake_timeout,
        max_message: config.membership.max_message,
        queue_limit: config.clients.session_queue_out,
        max_sessions: config.membership.max_sessions,
    }
}

fn transport_settings(
    config: &Config,
    network: &Network,
    identity: Identity,
    own: DaemonId,
    metrics: Metrics,
) -> transport::Settings {
    transport::Settings {
        own,
        cluster: config.cluster.as_str().to_owned(),
        listen: network.listen,
        daemons: network.daemons.clone(),
        identity,
        queue_limit: config.membership.window.saturating_mul(4).saturating_add(LINK_SLACK),
        idle_timeout: config.membership.suspect_after_max + IDLE_SLACK,
        metrics,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_filter_is_named_by_where_it_came_from() {
        let refused = |option: Option<&str>, variable: Option<&str>| {
            log_filter(option.map(Into::into), variable.map(Into::into)).unwrap_err().to_string()
        };
        let said = refused(Some("loud,,="), None);
        assert!(
            said.starts_with("--log \"loud,,=\": ") && said.ends_with("\"info,stentor=debug\""),
            "{said}"
        );
        let said = refused(None, Some("loud,,="));
        assert!(said.starts_with("RUST_LOG \"loud,,=\": ") && !said.contains("--log"), "{said}");
        assert_eq!(log_filter(Some("warn".into()), Some("loud,,=".into())).unwrap().to_string(), "warn");
        assert_eq!(log_filter(None, None).unwrap().to_string(), "info");
    }
}
