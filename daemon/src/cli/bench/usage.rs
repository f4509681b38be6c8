//! What processes use: time of processors, and memory; and what the hypervisor takes away. From `/proc`.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::param::page_size;

/// The time that a process has used so far, and its memory at most, in bytes; zero if it is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    pub(super) rss_max: u64,
}

impl Usage {
    pub(super) fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        Self { cpu: cpu(&stat), rss_max: kib(&status, "VmHWM:") }
    }

    pub(super) fn own() -> Self {
        Self::of(std::process::id())
    }
}

/// Tells the memory of a process, again and again while something is measured: a call each time, where [`Usage`] makes
/// twenty.
#[derive(Debug)]
pub(super) struct Memory(Option<File>);

impl Memory {
    pub(super) fn of(pid: u32) -> Self {
        Self(File::open(format!("/proc/{pid}/statm")).ok())
    }

    /// In bytes; zero if the process is gone.
    pub(super) fn resident(&self) -> u64 {
        // Seven numbers, each below 2^64.
        let mut line = [0; 256];
        let read = self.0.as_ref().and_then(|file| file.read_at(&mut line, 0).ok()).unwrap_or(0);
        pages(std::str::from_utf8(&line[..read]).unwrap_or_default()) * page_size() as u64
    }
}

/// The second number: pages that are in memory.
fn pages(statm: &str) -> u64 {
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

/// User and system time, fields 14 and 15, in the ticks of 10 ms that Linux shows to programs.
fn cpu(stat: &str) -> Duration {
    // The name of the program may hold anything, but no field behind it holds a parenthesis.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn kib(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

/// The time of all processors so far, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Processors {
    all: u64,
    stolen: u64,
}

impl Processors {
    pub(super) fn now() -> Option<Self> {
        Self::read(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// The first eight numbers of the line for all; those behind are part of them. The eighth is what a hypervisor gave
    /// to others while somebody here wanted it.
    fn read(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|tick| tick.parse().ok()).collect();
        Some(Self { all: ticks.iter().sum(), stolen: *ticks.get(7)? })
    }

    /// Percent that the hypervisor took since an earlier moment.
    pub(super) fn stolen_since(self, earlier: Self) -> f64 {
        let all = self.all.saturating_sub(earlier.all).max(1);
        100.0 * self.stolen.saturating_sub(earlier.stolen) as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_says_is_understood() {
        let stat = "7 (a) b)) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100 1 1";
        assert_eq!(cpu(stat), Duration::from_secs(3));
        let status = "Name:\ta\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!((kib(status, "VmRSS:"), kib(status, "VmHWM:")), (1 << 20, 2 << 20));
        assert_eq!((cpu(""), kib("", "VmRSS:")), (Duration::ZERO, 0));
        assert_eq!((pages("700 50 40 1 0 9 0\n"), pages("")), (50, 0));
        let now = Memory::of(std::process::id()).resident();
        assert!((1 << 20..=Usage::own().rss_max).contains(&now), "{now}");
    }

    #[test]
    fn what_a_hypervisor_took_is_told() {
        let before = Processors::read("cpu  10 0 10 70 0 0 5 5 3 0\ncpu0 1 2\n").unwrap();
        let after = Processors::read("cpu  20 0 20 140 0 0 5 15 9 0\n").unwrap();
        assert_eq!(after.stolen_since(before), 10.0);
        assert_eq!(before.stolen_since(after), 0.0, "clocks that go back take nothing");
        assert_eq!(Processors::read("cpu  1 2 3\n"), None, "an old system does not tell");
        assert_eq!(Processors::read(""), None);
    }
}
