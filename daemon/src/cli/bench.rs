//! `stentor bench`: how many messages a second, and how long one takes.

mod bystander;
mod cores;
mod load;
mod page;
mod receiver;
mod report;
mod seat;
mod sender;
mod shared;
mod threads;
mod timer;
mod usage;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use stentor_client::{Address, Connection, Service};

use self::cores::{Cores, go_first, stay_on, take_turns};
use self::load::{Load, Pace, Target};
use self::report::{Report, Summary};
use super::cluster::Cluster;
use super::heap::keep_freed;
use super::open_files::raise_limit;
use super::output::print;
use super::session::stop;
use crate::config::units::Size;

#[derive(Args, Debug)]
#[command(
    after_help = "Without --rate and --in-flight the senders go flat out: as fast as the slowest receiver follows. Every message is checked: \
    that each arrives at every receiver, and that all receivers saw one order. Exit code 0 means that they did."
)]
pub(crate) struct BenchArgs {
    /// Start so many daemons on this machine, and stop them after it.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    daemons: u8,
    /// Use a daemon that runs already; several times for several daemons of one cluster.
    #[arg(long, value_name = "unix:PATH|tcp:HOST:PORT", conflicts_with = "daemons")]
    connect: Vec<Address>,
    /// Keep each daemon and its programs on cores of their own, where none interrupts another: as close as one machine
    /// comes to a machine for each daemon. If there are fewer cores than daemons, the last ones share.
    #[arg(long, conflicts_with = "connect")]
    pin: bool,
    /// Run daemons and programs at a real-time priority, where nothing else on the machine interrupts them; needs the
    /// right to do so. If they keep a core busy for a second, Linux stops them there for some 50 ms: meant for --rate.
    #[arg(long, conflicts_with = "connect")]
    real_time: bool,
    /// How many programs send; the first at the first daemon, and so on.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    senders: u16,
    /// How many programs receive at each daemon.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=2000))]
    receivers: u16,
    /// How many groups there are: each sender goes through them in turn, receivers join all of them.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    groups: u32,
    /// How many more programs at each daemon are in a group of their own, in which nobody sends.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=5000))]
    bystanders: u16,
    /// Bytes of a message, 16 or more; with a unit, as in 8KiB.
    #[arg(long, value_name = "SIZE", default_value = "64")]
    size: Size,
    /// One more program at the first daemon sends messages of so many bytes, as fast as its receivers follow, one at
    /// each daemon; they are not counted among the others.
    #[arg(long, value_name = "SIZE")]
    bulk: Option<Size>,
    /// The service level.
    #[arg(long, value_name = "LEVEL", default_value = "agreed")]
    service: Service,
    /// How long to measure.
    #[arg(long, value_name = "SPAN", default_value = "3s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// How long to send before that.
    #[arg(long, value_name = "SPAN", default_value = "500ms", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// All senders together send so many messages a second, whether or not earlier ones have arrived (open loop).
    #[arg(long, value_name = "R", conflicts_with = "in_flight", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    rate: Option<u64>,
    /// Each sender waits until no more than so many of its messages have not come back to it (closed loop): with 1 it is
    /// a ping.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    in_flight: Option<u64>,
    /// Do it so many times.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    repeat: u16,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Measure sizes and loads as well, and write a page with plots.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// A message holds at least its number and the time of its sending.
const SIZE_MIN: usize = 16;

pub(crate) async fn run(args: BenchArgs) -> anyhow::Result<()> {
    tokio::select! {
        end = bench(args) => end,
        stopped = stop() => stopped.and_then(|()| bail!("stopped by a signal")),
    }
}

async fn bench(args: BenchArgs) -> anyhow::Result<()> {
    let load = args.load()?;
    // Each session needs a socket; what does not fit fails and says why.
    raise_limit();
    // What is measured is the daemons: programs that receive flat out give memory back and have it back all the time.
    keep_freed();
    let mut cluster = None;
    let target = if args.connect.is_empty() {
        let (own, target) = start(args.daemons.into(), args.pin, args.real_time).await?;
        cluster = Some(own);
        target
    } else {
        Target { addresses: args.connect.clone(), pids: Vec::new(), cores: None }
    };
    let limit = largest(&target).await?;
    for (option, size) in [("--size", Some(load.size)), ("--bulk", load.bulk)] {
        if let Some(size) = size.filter(|size| *size > limit) {
            bail!("{option} is {size} bytes, the daemon takes no more than {limit}");
        }
    }
    let plan = Plan::new(&load, args.repeat, args.html.is_some());
    let report = plan.measure(&target).await?;
    if let Some(cluster) = &mut cluster {
        cluster.stop().await?;
    }
    if let Some(file) = &args.html {
        std::fs::write(file, page::html(&report))
            .with_context(|| format!("cannot write the page to {}", file.display()))?;
    }
    let text = if args.json { serde_json::to_string(&report.json())? + "\n" } else { report.text() };
    print(&text)?;
    report.verdict()
}

/// Starts daemons for the bench alone, and waits until they are in one view.
async fn start(daemons: usize, pin: bool, real_time: bool) -> anyhow::Result<(Cluster, Target)> {
    let cores = pin.then(|| Cores::share(daemons)).transpose()?;
    if real_time {
        go_first()?;
    } else if pin {
        take_turns()?;
    }
    let names: Vec<String> = (0..daemons).map(|number| format!("d{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut own = Cluster::make("bench", &names)?;
    for daemon in 0..daemons {
        if let Some(cores) = &cores {
            stay_on(cores.of(daemon))?;
        }
        own.start(daemon)?;
    }
    if let Some(cores) = &cores {
        stay_on(cores.all())?;
    }
    let (probe, _unread) = own.connect(0, "probe").await?.split();
    own.wait_until_whole(&probe).await?;
    probe.close().await?;
    let target = Target { addresses: own.addresses(), pids: own.pids(), cores };
    Ok((own, target))
}

/// The payload of the largest message that the daemons take.
async fn largest(target: &Target) -> anyhow::Result<usize> {
    let address = target.addresses.first().context("no daemon to connect to")?;
    let (sender, _unread) = Connection::connect(address).await?.split();
    let limit = sender.max_message().saturating_sub(100);
    sender.close().await?;
    Ok(limit)
}

impl BenchArgs {
    fn load(&self) -> anyhow::Result<Load> {
        let (Size(size), bulk) = (self.size, self.bulk.map(|Size(bulk)| bulk));
        for (option, size) in [("--size", Some(size)), ("--bulk", bulk)] {
            if let Some(size) = size.filter(|size| *size < SIZE_MIN) {
                bail!("{option} is {size} bytes, at least {SIZE_MIN} are needed for a number and a time");
            }
        }
        if self.duration.is_zero() {
            bail!("--duration must be longer than nothing");
        }
        let pace = match (self.rate, self.in_flight) {
            (Some(rate), _) => Pace::Rate(rate),
            (None, Some(in_flight)) => Pace::InFlight(in_flight),
            (None, None) => Pace::FlatOut,
        };
        Ok(Load {
            name: "bench",
            senders: self.senders.into(),
            receivers: self.receivers.into(),
            groups: usize::try_from(self.groups)?,
            bystanders: self.bystanders.into(),
            size,
            bulk,
            service: self.service,
            pace,
            real_time: self.real_time,
            warm_up: self.warm_up,
            duration: self.duration,
        })
    }
}

/// What is measured, in which order.
struct Plan {
    load: Load,
    repeat: u16,
    /// With sizes and loads for plots.
    plots: bool,
}

/// Each point of a plot is measured for no longer than this.
const POINT: Duration = Duration::from_secs(3);
/// Sizes of the plot of throughput.
const SIZES: [usize; 7] = [64, 200, 1 << 10, 8 << 10, 64 << 10, 256 << 10, 1 << 20];
/// Loads of the plot of latency, in percent of the highest throughput.
const PERCENTS: [u64; 7] = [10, 25, 40, 50, 60, 75, 90];

impl Plan {
    fn new(load: &Load, repeat: u16, plots: bool) -> Self {
        Self { load: load.clone(), repeat, plots }
    }

    async fn measure(&self, target: &Target) -> anyhow::Result<Report> {
        let points = if self.plots { SIZES.len() + PERCENTS.len() + 1 } else { 0 };
        let bar = bar(u64::from(self.repeat) + points as u64);
        let mut rounds = Vec::new();
        for number in 1..=self.repeat {
            bar.set_message(format!("round {number}"));
            rounds.push(self.load.run(target).await?);
            bar.inc(1);
        }
        let mut report = Report {
            load: self.load.clone(),
            daemons: target.addresses.len(),
            pinned: target.cores.is_some(),
            rounds,
            over_size: Vec::new(),
            ping: None,
            over_load: Vec::new(),
        };
        if self.plots {
            let point = Load { duration: self.load.duration.min(POINT), ..self.load.clone() };
            for size in SIZES {
                bar.set_message(format!("{size} bytes"));
                let load = Load { size, pace: Pace::FlatOut, ..point.clone() };
                report.over_size.push(Summary::of(&load, &[load.run(target).await?]));
                bar.inc(1);
            }
            bar.set_message("one at a time");
            let load = Load { pace: Pace::InFlight(1), senders: 1, ..point.clone() };
            report.ping = Some(Summary::of(&load, &[load.run(target).await?]));
            bar.inc(1);
            let load = Load { pace: Pace::FlatOut, ..point.clone() };
            let highest = Summary::of(&load, &[load.run(target).await?]).msgs_per_s.median;
            for percent in PERCENTS {
                bar.set_message(format!("{percent} % of {highest:.0} messages a second"));
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a rate, not below 1"
                )]
                let rate = (highest * percent as f64 / 100.0).max(1.0) as u64;
                let load = Load { pace: Pace::Rate(rate), ..point.clone() };
                report.over_load.push(Summary::of(&load, &[load.run(target).await?]));
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        Ok(report)
    }
}

fn bar(steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} {msg}");
    ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
