//! L1: once faults stop, within a bounded time all live daemons are in one view that holds exactly them, and
//! everything that was accepted has been delivered. And it stays so.
//!
//! Sometimes the network first stays as it is, parted or with pairs that do not reach each other: then the daemons
//! must come to rest in views of daemons that all reach one another, and no two views that could be one stay apart.

use std::collections::BTreeMap;
use std::time::Duration;

use stentor_membership::{DaemonId, GroupName, MemberName, Phase, Timestamp};

use crate::chronicle::Moment;
use crate::cluster::{Cluster, Host};
use crate::daemon::{Daemon, Input};
use crate::invariants::Violation;

const PROMISE: &str = "L1 liveness";

impl Cluster {
    /// Ends the faults and waits for what was promised.
    pub(crate) fn calm_down(&mut self) {
        self.end_faults();
        if self.options.endures && !self.endure() {
            return;
        }
        self.heal();
        let began = self.schedule.now();
        // Clients go on for a while, so that merges meet traffic.
        self.run_until(began + self.options.node.suspect_after_min * 5);
        self.workload.over = true;
        if !self.wait(began, Self::not_whole) {
            return;
        }
        let took = self.schedule.now().since(began);
        self.counts.slowest_merge = took;
        let units = took.as_nanos() * 100 / self.options.node.suspect_after_max.as_nanos().max(1);
        self.counts.slowest_merge_units = u64::try_from(units).unwrap_or(u64::MAX);
        // By now everybody has noticed what happened to its links.
        self.run_until(began + self.options.network.idle_timeout * 2);
        if !self.wait(self.schedule.now(), |cluster| cluster.not_whole().or_else(|| cluster.not_done())) {
            return;
        }
        for host in 0..self.hosts.len() {
            self.give(host, Input::Probe);
        }
        let views = self.views();
        // No view may change any more, and the probes get through.
        self.run_until(self.schedule.now() + self.options.node.suspect_after_max);
        if self.views() != views && self.broken.is_none() {
            let text =
                format!("views change although nothing goes wrong: {views:?}, later {:?}", self.views());
            self.note(format_args!("{text}"));
            self.broken = Some(Violation { promise: PROMISE, text });
            return;
        }
        if self.wait(self.schedule.now(), |cluster| cluster.not_whole().or_else(|| cluster.not_done())) {
            self.history.settled = true;
            self.stay_quiet();
        }
    }

    /// The network stays as it is for a while: views must form that last. What looks like rest may not be it yet: a
    /// proposal may be on its way that is made of what was so before.
    fn endure(&mut self) -> bool {
        self.note(format_args!("THE NETWORK STAYS AS IT IS"));
        self.run_until(self.schedule.now() + self.options.network.idle_timeout * 2);
        let began = self.schedule.now();
        loop {
            if !self.wait(began, Self::not_at_rest) {
                return false;
            }
            let views = self.views();
            self.run_until(self.schedule.now() + self.options.node.suspect_after_max * 3);
            if self.broken.is_some() {
                return false;
            }
            if self.views() == views {
                return true;
            }
            if self.schedule.now() < began + self.options.patience {
                continue;
            }
            let text = format!(
                "views change although the network stays as it is: {views:?}, later {:?}{}",
                self.views(),
                self.status()
            );
            self.broken = Some(Violation { promise: PROMISE, text });
            return false;
        }
    }

    /// Why the daemons are not in as few lasting views as the network allows.
    fn not_at_rest(&self) -> Option<String> {
        let daemons: Vec<&Daemon> = self.running_daemons().collect();
        let by_id = |id: &DaemonId| daemons.iter().find(|daemon| daemon.id() == *id);
        let apart = |a: &[DaemonId], b: &[DaemonId]| {
            let mut pairs = a.iter().flat_map(|a| b.iter().map(move |b| (by_id(a), by_id(b))));
            pairs.any(|pair| match pair {
                (Some(a), Some(b)) => a.host != b.host && !self.network.can_dial(a.host, b.host),
                _ => true,
            })
        };
        for daemon in &daemons {
            let view = daemon.node.view();
            if daemon.leaving {
                return Some(format!("{} is about to leave", daemon.id()));
            }
            if daemon.node.phase() != Phase::Operational || apart(&view.members, &view.members) {
                return Some(format!("{} is not in a view that can last", daemon.id()));
            }
            let strays = |id: &&DaemonId| by_id(id).is_none_or(|other| other.node.view().id != view.id);
            if let Some(stray) = view.members.iter().find(strays) {
                return Some(format!("{stray} is not in the view of {}", daemon.id()));
            }
            for other in &daemons {
                let theirs = other.node.view();
                if theirs.id != view.id && !apart(&view.members, &theirs.members) {
                    return Some(format!("the views of {} and {} could be one", daemon.id(), other.id()));
                }
            }
        }
        None
    }

    /// When all is everywhere and everybody knows it, only heartbeats are sent.
    fn stay_quiet(&mut self) {
        self.run_until(self.schedule.now() + self.options.node.suspect_after_min);
        let before = self.sent;
        self.run_until(self.schedule.now() + self.options.node.suspect_after_min);
        let frames = (self.sent - before).frames;
        if frames > 0 && self.broken.is_none() {
            let text = format!("{frames} frames are sent although all is known to all{}", self.status());
            self.broken = Some(Violation { promise: PROMISE, text });
        }
    }

    fn end_faults(&mut self) {
        self.note(format_args!("FAULTS END"));
        self.faults.over = true;
        self.network.calm(self.schedule.now());
        for host in 0..self.hosts.len() {
            if let Some(daemon) = self.hosts[host].daemon.as_mut().filter(|daemon| daemon.paused) {
                daemon.paused = false;
                daemon.wake = None;
                self.chronicle.note(self.schedule.now(), || Moment::Paused { host, paused: false });
                self.wake(host);
            }
            if self.hosts[host].process.is_none() && !self.hosts[host].left {
                self.start(host);
            }
        }
    }

    /// Lets time pass until nothing is missing; false if that takes too long.
    fn wait(&mut self, since: Timestamp, missing: fn(&Self) -> Option<String>) -> bool {
        let end = since + self.options.patience;
        let pause = Duration::from_millis(10);
        while self.broken.is_none() {
            let Some(reason) = missing(self) else { return true };
            if self.schedule.now() >= end {
                let text =
                    format!("after {:?} without faults {reason}{}", self.options.patience, self.status());
                self.broken = Some(Violation { promise: PROMISE, text });
                self.history.overdue = true;
                return false;
            }
            self.run_until(self.schedule.now() + pause);
        }
        false
    }

    pub(crate) fn running_daemons(&self) -> impl Iterator<Item = &Daemon> {
        self.hosts.iter().filter_map(|host: &Host| host.daemon.as_deref())
    }

    fn views(&self) -> Vec<(DaemonId, u64)> {
        self.running_daemons().map(|daemon| (daemon.id(), daemon.node.stats().views)).collect()
    }

    pub(crate) fn not_whole(&self) -> Option<String> {
        let mut live: Vec<DaemonId> = self.running_daemons().map(Daemon::id).collect();
        live.sort();
        let first = self.running_daemons().next()?.node.view().id;
        self.running_daemons().find_map(|daemon| {
            let (view, phase) = (daemon.node.view(), daemon.node.phase());
            let whole =
                view.id == first && *view.members == *live && phase == Phase::Operational && !daemon.leaving;
            (!whole).then(|| format!("{} is not in one view with all of {live:?}", daemon.id()))
        })
    }

    pub(crate) fn not_done(&self) -> Option<String> {
        self.running_daemons().find_map(|daemon| {
            let missing = unfinished(daemon).or_else(|| self.wrong_groups(daemon));
            missing.map(|missing| format!("{} {missing}", daemon.id()))
        })
    }

    /// Everybody must hold the same table: the sessions that live, in the groups that they joined.
    fn wrong_groups(&self, daemon: &Daemon) -> Option<String> {
        let mut expected: BTreeMap<GroupName, Vec<MemberName>> = BTreeMap::new();
        for client in self.running_daemons().flat_map(|daemon| daemon.clients.live.values()) {
            for group in &client.groups {
                expected.entry(*group).or_default().push(client.name);
            }
        }
        for members in expected.values_mut() {
            members.sort();
        }
        let node = &daemon.node;
        let names: Vec<(GroupName, usize)> = node.groups(None).collect();
        let wanted: Vec<(GroupName, usize)> = expected.iter().map(|(name, m)| (*name, m.len())).collect();
        let members = || expected.iter().find(|(group, members)| *node.members(**group) != ***members);
        if names != wanted {
            return Some(format!("knows of the groups {names:?} instead of {wanted:?}"));
        }
        let (group, wanted) = members()?;
        Some(format!("has {:?} in group {group} instead of {wanted:?}", node.members(*group)))
    }

    /// Who waits for whom: one line for each daemon.
    pub(crate) fn status(&self) -> String {
        let now = self.schedule.now();
        self.running_daemons().map(|daemon| format!("\n    {}", daemon.status(now))).collect()
    }
}

/// What a daemon still has to do.
fn unfinished(daemon: &Daemon) -> Option<String> {
    let (clients, stats) = (&daemon.clients, daemon.node.stats());
    if let Some(client) = clients.live.values().find(|client| client.waiting.is_some()) {
        return Some(format!("lets {} wait for room: {:?}", client.name, client.waiting));
    }
    if let Some(client) = clients.live.values().find(|client| !client.pending.is_empty()) {
        return Some(format!(
            "does not bring to effect what {} asked for: {:?}",
            client.name, client.pending
        ));
    }
    if !clients.undelivered.is_empty() {
        return Some(format!("has not delivered its own messages {:?}", clients.undelivered));
    }
    if daemon.node.has_unfinished_sends() || stats.queued_bytes > 0 {
        return Some("has not sent everything".to_owned());
    }
    if stats.unstable_bytes > 0 || stats.retained_bytes > 0 {
        return Some("keeps frames that everybody has".to_owned());
    }
    None
}
