//! What goes wrong in an epoch and when: a function of the seed alone.

use std::fmt;
use std::time::Duration;

use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use crate::proxy::Path;

/// Daemons by their number.
pub(crate) type Daemon = usize;

/// Something that goes wrong, or is put right.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// `kill -9`.
    Kill(Daemon),
    /// An orderly stop.
    Stop(Daemon),
    /// A new start after either.
    Start(Daemon),
    /// The process is stopped in its tracks.
    Pause(Daemon),
    /// It goes on.
    Resume(Daemon),
    /// The network falls into parts.
    Split(Vec<Vec<Daemon>>),
    /// What goes from one to another is lost.
    OneWay(Daemon, Daemon),
    /// Two do not reach each other, but both reach all the rest.
    NonTransitive(Daemon, Daemon),
    /// All directions are slow, or lose packets.
    Weather(Path),
    /// What goes from one to another is slow, or loses packets.
    BadPath(Daemon, Daemon, Path),
    /// The network is well again.
    Heal,
    /// A client of a daemon does not read for a while.
    SlowClient(Daemon, Duration),
    /// Clients come to a daemon, all at once, do something and go, some without a word.
    Storm(Daemon, usize),
}

/// All kinds of faults, as they are counted.
pub(crate) const KINDS: [&str; 13] = [
    "kill",
    "stop",
    "start",
    "pause",
    "resume",
    "split",
    "one-way",
    "non-transitive",
    "weather",
    "bad path",
    "heal",
    "slow client",
    "storm",
];

impl Fault {
    /// Its kind, one of [`KINDS`].
    pub(crate) fn kind(&self) -> &'static str {
        let number = match self {
            Self::Kill(_) => 0,
            Self::Stop(_) => 1,
            Self::Start(_) => 2,
            Self::Pause(_) => 3,
            Self::Resume(_) => 4,
            Self::Split(_) => 5,
            Self::OneWay(..) => 6,
            Self::NonTransitive(..) => 7,
            Self::Weather(_) => 8,
            Self::BadPath(..) => 9,
            Self::Heal => 10,
            Self::SlowClient(..) => 11,
            Self::Storm(..) => 12,
        };
        KINDS[number]
    }
}

/// A fault with its time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// Since the begin of the epoch.
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8.3} {:?}", self.at.as_secs_f64(), self.fault)
    }
}

/// Draws the faults of an epoch, in the order of their times.
pub(crate) fn draw(seed: u64, daemons: usize, length: Duration) -> Vec<Step> {
    let mut draw = Draw {
        random: ChaCha12Rng::seed_from_u64(seed),
        daemons,
        busy_until: vec![Duration::ZERO; daemons],
        steps: Vec::new(),
    };
    // Some epochs are hectic, so that views fall while the next ones are agreed on; others leave time to recover.
    let pace = [150, 600, 2000][draw.random.random_range(0..3)];
    let mut now = draw.millis(0..pace);
    while now < length {
        draw.step(now, length);
        now += draw.millis(1..2 * pace);
    }
    // Stable: what was drawn first comes first.
    draw.steps.sort_by_key(|step| step.at);
    draw.steps
}

struct Draw {
    random: ChaCha12Rng,
    daemons: usize,
    /// Until when a daemon is down or stopped.
    busy_until: Vec<Duration>,
    steps: Vec<Step>,
}

impl Draw {
    fn step(&mut self, now: Duration, length: Duration) {
        match self.random.random_range(0..100) {
            0..22 => self.process(now, length),
            22..42 => self.partition(now, length),
            42..50 => {
                let weather = self.path();
                self.add(now, Fault::Weather(weather));
            }
            50..60 => {
                let ((from, to), path) = (self.pair(), self.path());
                self.add(now, Fault::BadPath(from, to, path));
            }
            60..72 => self.add(now, Fault::Heal),
            72..94 => {
                let (daemon, time) = (self.daemon(), self.millis(200..6000));
                self.add(now, Fault::SlowClient(daemon, time));
            }
            _ => {
                let (daemon, clients) = (self.daemon(), self.random.random_range(20..200));
                self.add(now, Fault::Storm(daemon, clients));
            }
        }
    }

    /// A daemon is killed, stopped or paused, for longer or shorter than others take to notice. One of them is always
    /// left alone.
    fn process(&mut self, now: Duration, length: Duration) {
        let victim = self.daemon();
        let well = self.busy_until.iter().filter(|until| **until <= now).count();
        if well < 2 || self.busy_until.get(victim).is_none_or(|until| *until > now) {
            return;
        }
        let time = if self.random.random_bool(0.5) { self.millis(1..700) } else { self.millis(700..6000) };
        let back = now + time;
        let (fault, cure) = match self.random.random_range(0..10) {
            0..4 => (Fault::Kill(victim), Fault::Start(victim)),
            4..6 => (Fault::Stop(victim), Fault::Start(victim)),
            _ => (Fault::Pause(victim), Fault::Resume(victim)),
        };
        let dies_stopped = matches!(fault, Fault::Pause(_)) && self.random.random_bool(0.1);
        self.add(now, fault);
        if dies_stopped {
            self.add(back, Fault::Kill(victim));
        }
        let cure = if dies_stopped { Fault::Start(victim) } else { cure };
        // What is not put right in time is put right at the end of the epoch.
        if back < length {
            self.add(back, cure);
        }
        if let Some(until) = self.busy_until.get_mut(victim) {
            *until = back;
        }
    }

    fn partition(&mut self, now: Duration, length: Duration) {
        let fault = match self.random.random_range(0..4) {
            0..2 => Fault::Split(self.parts()),
            2 => {
                let (from, to) = self.pair();
                Fault::OneWay(from, to)
            }
            _ => {
                let (one, two) = self.pair();
                Fault::NonTransitive(one, two)
            }
        };
        self.add(now, fault);
        // Most end soon; the others when the next one begins.
        let end = now + self.millis(50..5000);
        if end < length && self.random.random_bool(0.7) {
            self.add(end, Fault::Heal);
        }
    }

    /// Every daemon in one of up to three parts.
    fn parts(&mut self) -> Vec<Vec<Daemon>> {
        let mut parts = vec![Vec::new(); self.random.random_range(2..=3)];
        for daemon in 0..self.daemons {
            let part = self.random.random_range(0..parts.len());
            if let Some(part) = parts.get_mut(part) {
                part.push(daemon);
            }
        }
        parts.retain(|part| !part.is_empty());
        parts
    }

    fn path(&mut self) -> Path {
        let delay = if self.random.random_bool(0.7) { self.millis(1..150) } else { Duration::ZERO };
        let loss = if self.random.random_bool(0.5) { self.random.random_range(0.0..0.2) } else { 0.0 };
        Path { cut: false, loss, delay }
    }

    fn daemon(&mut self) -> Daemon {
        self.random.random_range(0..self.daemons)
    }

    fn pair(&mut self) -> (Daemon, Daemon) {
        let one = self.daemon();
        let other = self.random.random_range(1..self.daemons);
        (one, (one + other) % self.daemons)
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.random_range(range))
    }

    fn add(&mut self, at: Duration, fault: Fault) {
        self.steps.push(Step { at, fault });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(20);

    #[test]
    fn a_schedule_is_a_function_of_its_seed() {
        assert_eq!(draw(7, 5, LENGTH), draw(7, 5, LENGTH));
        assert_ne!(draw(7, 5, LENGTH), draw(8, 5, LENGTH));
    }

    #[test]
    fn every_kind_of_fault_comes_up() {
        let kinds: BTreeSet<_> =
            (0..50).flat_map(|seed| draw(seed, 3, LENGTH)).map(|step| step.fault.kind()).collect();
        assert_eq!(kinds, KINDS.into());
    }

    #[test]
    fn steps_are_in_order_and_fit_the_daemons() {
        for seed in 0..200 {
            let daemons = 3 + usize::try_from(seed % 3).unwrap();
            let mut stopped = BTreeSet::new();
            let mut last = Duration::ZERO;
            for Step { at, fault } in draw(seed, daemons, LENGTH) {
                assert!(last <= at, "seed {seed}");
                last = at;
                match fault {
                    Fault::Stop(daemon) | Fault::Pause(daemon) => assert!(stopped.insert(daemon)),
                    // A paused one may be killed.
                    Fault::Kill(daemon) => {
                        stopped.insert(daemon);
                    }
                    Fault::Start(daemon) | Fault::Resume(daemon) => assert!(stopped.remove(&daemon)),
                    Fault::Split(parts) => {
                        let all: BTreeSet<_> = parts.into_iter().flatten().collect();
                        assert_eq!(all, (0..daemons).collect());
                    }
                    Fault::OneWay(one, two)
                    | Fault::NonTransitive(one, two)
                    | Fault::BadPath(one, two, _) => {
                        assert!(one != two && one.max(two) < daemons);
                    }
                    Fault::Storm(daemon, _) | Fault::SlowClient(daemon, _) => assert!(daemon < daemons),
                    Fault::Weather(_) | Fault::Heal => {}
                }
                assert!(stopped.len() < daemons, "seed {seed}: all are down");
            }
        }
    }
}
