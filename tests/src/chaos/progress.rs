//! How much happened, in a line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::daemons::Daemons;
use super::epoch::{Epoch, Judgement};
use super::schedule::KINDS;
use crate::log::{Log, What};

/// Between two lines.
const LINE: Duration = Duration::from_secs(10);

/// Counts over all epochs that have ended.
#[derive(Clone, Debug)]
pub struct Totals {
    /// The number of daemons.
    pub daemons: usize,
    /// Epochs.
    pub epochs: u64,
    /// Faults by kind; those that made no sense when they were due do not count.
    pub faults: BTreeMap<&'static str, u64>,
    /// Sessions that were opened.
    pub sessions: u64,
    /// Clients that were cut off because they read too slowly.
    pub slow: u64,
    /// Messages that clients sent.
    pub sent: u64,
    /// Messages that clients got.
    pub received: u64,
    /// Daemons' views that clients heard of.
    pub views: u64,
    /// Group views that clients were told.
    pub group_views: u64,
    /// Violations.
    pub violations: u64,
    /// The most memory that a daemon was seen to hold, in bytes.
    pub peak: u64,
    /// The longest times from the end of faults to one view, and from there until everything was delivered.
    pub longest: [Duration; 2],
    /// How often each property was put to the test.
    pub checked: BTreeMap<&'static str, u64>,
}

impl Totals {
    pub(crate) fn new(daemons: usize) -> Self {
        Self {
            daemons,
            epochs: 0,
            faults: KINDS.iter().map(|kind| (*kind, 0)).collect(),
            sessions: 0,
            slow: 0,
            sent: 0,
            received: 0,
            views: 0,
            group_views: 0,
            violations: 0,
            peak: 0,
            longest: [Duration::ZERO; 2],
            checked: BTreeMap::new(),
        }
    }

    /// Adds an epoch that has ended.
    pub(crate) fn add(&mut self, epoch: &Epoch, judgement: &Judgement, peak: u64) {
        self.epochs += 1;
        self.add_faults(epoch);
        self.add_logs(&judgement.logs);
        for (property, checked) in judgement.report.all_checked() {
            *self.checked.entry(property).or_default() += checked;
        }
        self.violations += u64::from(judgement.ensure().is_err());
        self.slow += judgement.slow;
        self.peak = self.peak.max(peak);
        for (longest, now) in self.longest.iter_mut().zip(judgement.rest) {
            *longest = now.max(*longest);
        }
    }

    fn add_faults(&mut self, epoch: &Epoch) {
        for (_, fault, _) in epoch.done.iter().filter(|(.., made_sense)| *made_sense) {
            *self.faults.entry(fault.kind()).or_default() += 1;
        }
    }

    fn add_logs(&mut self, logs: &[Log]) {
        let mut views = BTreeSet::new();
        for entry in logs.iter().flat_map(|log| &log.entries) {
            match &entry.what {
                What::Send(_) => self.sent += 1,
                What::Message(_) => self.received += 1,
                What::Membership(view) => {
                    self.group_views += 1;
                    views.insert(view.view.view);
                }
                What::Leave(_) | What::Foreign { .. } | What::Transitional(_) => {}
            }
        }
        self.sessions += u64::try_from(logs.len()).unwrap_or(u64::MAX);
        self.views += u64::try_from(views.len()).unwrap_or(u64::MAX);
    }

    /// All of it in a line.
    pub fn line(&self, elapsed: Duration) -> String {
        let mut line = format!("{:6} s, {} daemons:", elapsed.as_secs(), self.daemons);
        for (kind, count) in self.faults.iter().filter(|(_, count)| **count > 0) {
            // Writing to a text does not fail.
            let _ = write!(line, " {count} {kind},");
        }
        let [view, delivered] = self.longest.map(|time| time.as_secs_f64());
        let _ = write!(
            line,
            " {} sessions, {} too slow, {} sent, {} received, {} views, {} group views, {} MiB at most, one view after {view:.1} s, \
             all delivered after {delivered:.1} s at most, {} violations in {} epochs",
            self.sessions,
            self.slow,
            self.sent,
            self.received,
            self.views,
            self.group_views,
            self.peak >> 20,
            self.violations,
            self.epochs
        );
        line
    }

    /// Gives lines while an epoch goes on.
    pub(crate) fn reporter(&self, begin: Instant) -> Reporter {
        Reporter { totals: self.clone(), begin, last: Instant::now() }
    }
}

/// The counts at the begin of an epoch, and when a line is due.
#[derive(Debug)]
pub(crate) struct Reporter {
    totals: Totals,
    begin: Instant,
    last: Instant,
}

impl Reporter {
    pub(crate) fn tick(&mut self, epoch: &Epoch, daemons: &Daemons, tell: &mut impl FnMut(&str)) {
        if self.last.elapsed() < LINE {
            return;
        }
        self.last = Instant::now();
        let mut now = self.totals.clone();
        now.add_faults(epoch);
        let amount = epoch.tapes.amount();
        now.sessions += amount.sessions;
        now.sent += amount.sent;
        now.received += amount.received;
        now.group_views += amount.views;
        now.peak = now.peak.max(daemons.peak());
        tell(&now.line(self.begin.elapsed()));
    }
}
