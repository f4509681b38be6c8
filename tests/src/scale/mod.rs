//! What a message costs as there is more of everything: daemons, groups, sessions, members of a group.
//!
//! Each point is one run of `stentor bench` flat out and one of a ping. What is to be seen is how figures grow down a
//! table; how large they are says as much about the machine.

mod point;
mod table;

use std::time::Duration;

use anyhow::Result;

use self::point::Point;
pub use self::table::text;
use crate::bench::Bench;
use crate::tool::Progress;

/// What there is more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Axis {
    /// Daemons, each with one receiver.
    Daemons,
    /// Groups, through which the sender goes in turn; receivers are in all of them.
    Groups,
    /// Sessions at each daemon, each in a group of its own in which nobody sends.
    Sessions,
    /// Members of the group at each daemon.
    Members,
}

impl Axis {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Daemons, Self::Groups, Self::Sessions, Self::Members];

    /// How many there are, point by point.
    pub fn counts(self) -> &'static [u32] {
        match self {
            Self::Daemons => &[1, 2, 3, 5, 7],
            Self::Groups => &[1, 10, 100, 1_000, 10_000, 100_000],
            Self::Sessions => &[1, 100, 500, 1_000, 2_000],
            Self::Members => &[1, 2, 5, 10, 20, 50],
        }
    }

    /// What `stentor bench` is told for a point.
    fn arguments(self, count: u32) -> [String; 2] {
        let option = match self {
            Self::Daemons => "--daemons",
            Self::Groups => "--groups",
            Self::Sessions => "--bystanders",
            Self::Members => "--receivers",
        };
        // One session is the receiver.
        let count = if self == Self::Sessions { count - 1 } else { count };
        [option.to_owned(), count.to_string()]
    }
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of what there is to be more.
    pub axes: Vec<Axis>,
    /// No point with more than this of it.
    pub most: u32,
    /// How long each measurement.
    pub span: Duration,
    /// How often each.
    pub rounds: usize,
}

/// The points of one axis.
#[derive(Debug)]
pub struct Growth {
    axis: Axis,
    points: Vec<(u32, Point)>,
}

/// Measures everything.
///
/// # Errors
/// The first thing that fails.
pub async fn run(options: &Options, progress: Progress<'_>) -> Result<Vec<Growth>> {
    let counts = |axis: Axis| axis.counts().iter().copied().filter(|count| *count <= options.most);
    let steps = options.axes.iter().map(|axis| counts(*axis).count()).sum();
    let (bench, mut done, mut all) = (Bench::new()?, 0, Vec::new());
    for axis in options.axes.iter().copied() {
        let mut points = Vec::new();
        for count in counts(axis) {
            progress(done, steps, &format!("{axis:?}: {count}"));
            let arguments = axis.arguments(count);
            points.push((count, Point::measure(&bench, &arguments, options).await?));
            done += 1;
        }
        all.push(Growth { axis, points });
    }
    progress(steps, steps, "");
    Ok(all)
}
