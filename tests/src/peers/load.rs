//! What is measured, and in which figures.

use std::fmt;
use std::time::Duration;

/// Sent before the measured time, so that everything is warm.
pub(super) const WARM_UP: Duration = Duration::from_millis(500);

/// Bytes of a message whose latency is measured.
pub const PING_SIZE: usize = 64;

/// What is sent: on three nodes with one receiver each, by one sender at the first node, unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    /// Flat out, messages of so many bytes.
    Flood(usize),
    /// One message of [`PING_SIZE`] at a time, until its sender sees it.
    Ping,
    /// Messages of [`PING_SIZE`], half as many a second as it took in the same round flat out.
    Half,
    /// The same, where each node and its programs stay on cores of their own, at a real-time priority: Stentor alone is
    /// asked for it.
    HalfUndisturbed,
    /// Something that Stentor alone is asked for.
    Alone(Alone),
}

/// Loads without a peer to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alone {
    /// Messages of 1 MiB.
    Large,
    /// A sender at each node, 200 B.
    ThreeSenders,
    /// Stable at every node before it is delivered, 200 B.
    Safe,
    /// Ten receivers at each node, 200 B.
    Receivers10,
    /// Fifty receivers at each node, 200 B.
    Receivers50,
    /// [`Load::Ping`] with the service level SAFE.
    SafePing,
    /// [`Load::Ping`] with a single daemon.
    LonelyPing,
    /// 50,000 messages of 200 B a second, whether or not earlier ones have arrived.
    OpenLoop,
    /// The same from three senders, one at each node.
    OpenLoopOfThree,
    /// 1,000 messages of 64 B a second, while another sender floods another group with messages of 1 MiB.
    BesideLarge,
}

impl Alone {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Large,
        Self::ThreeSenders,
        Self::Safe,
        Self::Receivers10,
        Self::Receivers50,
        Self::SafePing,
        Self::LonelyPing,
        Self::OpenLoop,
        Self::OpenLoopOfThree,
        Self::BesideLarge,
    ];
}

impl Load {
    /// Whether it is half of what was reached flat out.
    pub(super) fn is_half(self) -> bool {
        matches!(self, Self::Half | Self::HalfUndisturbed)
    }

    /// Whether the others must not be there: who takes it is not compared with them, and notices each moment that they
    /// take.
    pub(super) fn wants_quiet(self) -> bool {
        matches!(
            self,
            Self::HalfUndisturbed
                | Self::Alone(Alone::OpenLoop | Alone::OpenLoopOfThree | Alone::BesideLarge)
        )
    }

    /// What `stentor bench` has to be told for it, but for the duration; `rate` for half of the most.
    pub(super) fn bench_arguments(self, rate: Option<u64>) -> Vec<String> {
        let alone: &[&str] = match self {
            Self::Flood(size) => return vec!["--size".to_owned(), size.to_string()],
            Self::Half | Self::HalfUndisturbed => {
                let apart: &[&str] = if self == Self::Half { &[] } else { &["--pin", "--real-time"] };
                let rate = rate.into_iter().flat_map(|rate| ["--rate".to_owned(), rate.to_string()]);
                return rate.chain(apart.iter().map(|argument| (*argument).to_owned())).collect();
            }
            Self::Ping => &["--in-flight", "1"],
            Self::Alone(Alone::Large) => &["--size", "1MiB"],
            Self::Alone(Alone::ThreeSenders) => &["--size", "200", "--senders", "3"],
            Self::Alone(Alone::Safe) => &["--size", "200", "--service", "safe"],
            Self::Alone(Alone::Receivers10) => &["--size", "200", "--receivers", "10"],
            Self::Alone(Alone::Receivers50) => &["--size", "200", "--receivers", "50"],
            Self::Alone(Alone::SafePing) => &["--in-flight", "1", "--service", "safe"],
            Self::Alone(Alone::LonelyPing) => &["--in-flight", "1", "--daemons", "1"],
            Self::Alone(Alone::OpenLoop) => &["--size", "200", "--rate", "50000"],
            Self::Alone(Alone::OpenLoopOfThree) => &["--size", "200", "--senders", "3", "--rate", "50000"],
            Self::Alone(Alone::BesideLarge) => &["--rate", "1000", "--bulk", "1MiB"],
        };
        alone.iter().map(|argument| (*argument).to_owned()).collect()
    }

    /// Which figures are of interest.
    pub fn quantities(self) -> &'static [Quantity] {
        match self {
            Self::Flood(_) => &[Quantity::Rate, Quantity::Cpu, Quantity::Lost],
            Self::Ping
            | Self::Half
            | Self::HalfUndisturbed
            | Self::Alone(
                Alone::SafePing
                | Alone::LonelyPing
                | Alone::OpenLoop
                | Alone::OpenLoopOfThree
                | Alone::BesideLarge,
            ) => &[Quantity::P50, Quantity::P99],
            Self::Alone(_) => &[Quantity::Rate, Quantity::Cpu],
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flood(size) if size.is_multiple_of(1024) => write!(f, "{} KiB", size / 1024),
            Self::Flood(size) => write!(f, "{size} B"),
            Self::Ping => write!(f, "{PING_SIZE} B, one at a time"),
            Self::Half => write!(f, "{PING_SIZE} B, half of the most"),
            Self::HalfUndisturbed => write!(f, "{PING_SIZE} B, half of the most, undisturbed"),
            Self::Alone(alone) => f.write_str(match alone {
                Alone::Large => "1 MiB",
                Alone::ThreeSenders => "200 B, three senders",
                Alone::Safe => "200 B, SAFE",
                Alone::Receivers10 => "200 B, 10 receivers a node",
                Alone::Receivers50 => "200 B, 50 receivers a node",
                Alone::SafePing => "64 B SAFE, one at a time",
                Alone::LonelyPing => "64 B, one at a time, one daemon",
                Alone::OpenLoop => "200 B, 50,000 a second",
                Alone::OpenLoopOfThree => "200 B, 50,000 a second of three senders",
                Alone::BesideLarge => "64 B, 1,000 a second beside 1 MiB",
            }),
        }
    }
}

/// A figure of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// Messages a second at the slowest receiver.
    Rate,
    /// Seconds of processors that all daemons together take for a million messages.
    Cpu,
    /// Microseconds that half of the messages took at most.
    P50,
    /// Microseconds that 99 of 100 messages took at most.
    P99,
    /// Messages in a hundred that the slowest receiver never got, where that is allowed.
    Lost,
}

impl Quantity {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "msgs_per_s",
            Self::Cpu => "daemons_cpu_s_per_million_messages",
            Self::P50 => "latency_us_p50",
            Self::P99 => "latency_us_p99",
            Self::Lost => "lost_percent",
        }
    }

    /// What stands behind a number of it.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Rate => "/s",
            Self::Cpu => " s",
            Self::P50 | Self::P99 => " µs",
            Self::Lost => " %",
        }
    }
}

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// What was sent.
    pub load: Load,
    /// What was measured of it.
    pub quantity: Quantity,
}

/// What one measurement of one load gave.
pub(super) type Figures = Vec<(Quantity, f64)>;
