//! One member's copy of the map, and how it comes to be the same as the others'.
//!
//! - **Commands** are multicast in agreed order. Who is *live* applies them as they are delivered.
//! - **A joiner** waits. At the event of its join, all others hold the same map at the same point of the order: the
//!   lowest of them sends it that map in private. The joiner keeps what is ordered behind its join, and applies it
//!   once the map has come.
//! - **After a partition** each side has a map of its own. At the event of the merge the lowest member of each side
//!   multicasts its side's map; commands ordered behind the event are kept until every member has been spoken for.
//!   Then all have the same maps and apply the same rule: *for each key, the value that was set later by the count of
//!   commands wins, and with equal counts that of the lowest speaker; a key that only one side holds stays.* (So a key
//!   deleted on one side only comes back.)
//! - **A round of all**: if another merge interrupts one, or if a joiner lost the member that it waits for and calls
//!   for it, sides say nothing about who holds which map. Then every member speaks for itself.
//!
//! No clock, no socket: events in, actions out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use stentor_client::{Cause, GroupViewId, MemberName, Membership};

/// A change of the map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    Set { key: String, value: String },
    Swap { key: String, old: String, new: String },
    Delete { key: String },
}

/// What members say to each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Note {
    Command(Command),
    /// The map at the point of the receiver's join, which began this view.
    State {
        joined: GroupViewId,
        map: Map,
    },
    /// The sender lost the map that was on its way: all are to say what they have.
    Call(Round),
    /// The map that these members bring to a round, if they have one.
    Speech {
        round: Round,
        speaks_for: Vec<MemberName>,
        map: Option<Map>,
    },
}

/// What a merge began with: a view of several sides, or the call of a member that joined with a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Round {
    Merge(GroupViewId),
    Call(GroupViewId),
}

/// The replicated map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Map {
    entries: BTreeMap<String, Entry>,
    /// Commands applied so far.
    count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    value: String,
    /// The count of the command that set it.
    at: u64,
}

/// Something delivered, in the order of the group.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Membership(Membership),
    Note(MemberName, Note),
}

/// Something to send.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Multicast(Note),
    Send(MemberName, Note),
}

pub(crate) struct Replica {
    me: MemberName,
    members: Vec<MemberName>,
    map: Map,
    mode: Mode,
    /// What was delivered while not live: to be applied then.
    later: Vec<Input>,
    actions: Vec<Action>,
}

enum Mode {
    /// Not in the group yet.
    Outside,
    /// The map is up to date.
    Live,
    /// The map is on its way.
    Waiting(Waiting),
    /// Several maps are about to become one.
    Merging(Merging),
}

struct Waiting {
    /// The view that began with this member's join.
    joined: GroupViewId,
    /// Who sends the map. Without it, this member has called for a round of all.
    donor: Option<MemberName>,
}

struct Merging {
    round: Round,
    /// Those not spoken for yet.
    missing: BTreeSet<MemberName>,
    /// Those that this member and its like speak for.
    side: BTreeSet<MemberName>,
    has_map: bool,
    spoke: bool,
    maps: BTreeMap<MemberName, Map>,
}

impl Replica {
    pub(crate) fn new(me: MemberName) -> Self {
        Self {
            me,
            members: Vec::new(),
            map: Map::default(),
            mode: Mode::Outside,
            later: Vec::new(),
            actions: Vec::new(),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.map.entries.get(key).map(|entry| entry.value.as_str())
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.map.entries.iter().map(|(key, entry)| (key.as_str(), entry.value.as_str()))
    }

    pub(crate) fn members(&self) -> &[MemberName] {
        &self.members
    }

    /// Whether the map is what the order of commands makes it, as far as it was delivered.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.mode, Mode::Live)
    }

    /// Takes what was delivered next; gives what is to be sent.
    pub(crate) fn handle(&mut self, input: Input) -> Vec<Action> {
        if let Input::Membership(view) = &input {
            self.members = view.members.to_vec();
        }
        match (input, &mut self.mode) {
            (Input::Membership(view), _) => self.change(view),
            (Input::Note(_, Note::State { joined, map }), Mode::Waiting(waiting)) => {
                if joined == waiting.joined {
                    self.map = map;
                    self.go_live();
                }
            }
            (Input::Note(_, Note::Call(round)), _) => {
                let everybody = self.members.iter().copied().collect();
                self.merge(round, everybody, [self.me].into());
            }
            (Input::Note(from, Note::Speech { round, speaks_for, map }), Mode::Merging(merging)) => {
                if round == merging.round {
                    merging.missing.retain(|member| !speaks_for.contains(member));
                    merging.maps.extend(map.map(|map| (from, map)));
                    self.go_on();
                }
            }
            // An answer that came too late to be needed.
            (Input::Note(_, Note::State { .. } | Note::Speech { .. }), _) => {}
            (input, _) => self.apply_or_keep(input),
        }
        std::mem::take(&mut self.actions)
    }

    /// The group changed.
    fn change(&mut self, view: Membership) {
        match view.cause {
            Cause::Join(who) if who == self.me => {
                self.mode = Mode::Waiting(Waiting { joined: view.view, donor: donor(&view) });
                self.go_on();
            }
            Cause::Join(_) => self.apply_or_keep(Input::Membership(view)),
            Cause::Network if view.sets.len() > 1 => {
                let side = view.sets.iter().find(|set| set.contains(&self.me));
                let side = side.map_or_else(|| [self.me].into(), |side| side.iter().copied().collect());
                self.merge(Round::Merge(view.view), view.members.iter().copied().collect(), side);
            }
            Cause::Leave(_) | Cause::Disconnect(_) | Cause::Network => self.go_on(),
        }
    }

    fn apply_or_keep(&mut self, input: Input) {
        match self.mode {
            Mode::Outside => {}
            Mode::Live => self.apply(input),
            Mode::Waiting(_) | Mode::Merging(_) => self.later.push(input),
        }
    }

    /// What everybody does at the same point of the order.
    fn apply(&mut self, input: Input) {
        match input {
            Input::Note(_, Note::Command(command)) => self.map.apply(command),
            Input::Membership(view) if donor(&view) == Some(self.me) => {
                if let Cause::Join(joiner) = view.cause {
                    let state = Note::State { joined: view.view, map: self.map.clone() };
                    self.actions.push(Action::Send(joiner, state));
                }
            }
            Input::Note(..) | Input::Membership(_) => {}
        }
    }

    fn go_live(&mut self) {
        self.mode = Mode::Live;
        for input in std::mem::take(&mut self.later) {
            self.apply(input);
        }
    }

    /// A round begins, perhaps in the middle of another.
    fn merge(&mut self, round: Round, missing: BTreeSet<MemberName>, mut side: BTreeSet<MemberName>) {
        let has_map = match &self.mode {
            Mode::Outside => return,
            Mode::Live => true,
            // It is for its elders to bring the map, unless it lost them: then it has what it has, but others of its
            // side may have more.
            Mode::Waiting(waiting) => match waiting.donor {
                Some(donor) if side.contains(&donor) || side.len() == 1 && self.members.contains(&donor) => {
                    false
                }
                _ => {
                    side = [self.me].into();
                    true
                }
            },
            Mode::Merging(merging) => {
                side = [self.me].into();
                merging.has_map
            }
        };
        if has_map {
            self.go_live();
        }
        self.later.clear();
        let maps = BTreeMap::new();
        self.mode = Mode::Merging(Merging { round, missing, side, has_map, spoke: false, maps });
        self.go_on();
    }

    /// Members may have left, or spoken.
    fn go_on(&mut self) {
        match &mut self.mode {
            Mode::Outside | Mode::Live => {}
            Mode::Waiting(_) if self.members == [self.me] => self.go_live(),
            Mode::Waiting(waiting) => {
                if waiting.donor.take_if(|donor| !self.members.contains(donor)).is_some() {
                    self.actions.push(Action::Multicast(Note::Call(Round::Call(waiting.joined))));
                }
            }
            Mode::Merging(merging) => {
                merging.missing.retain(|member| self.members.contains(member));
                if merging.missing.is_empty() {
                    self.map = Map::merged(std::mem::take(&mut merging.maps));
                    return self.go_live();
                }
                let own: Vec<_> = merging.side.intersection(&merging.missing).copied().collect();
                if own.first() == Some(&self.me) && !std::mem::replace(&mut merging.spoke, true) {
                    let (round, has_map) = (merging.round, merging.has_map);
                    // Who has no map leaves the word to the next of its side.
                    let speaks_for = if has_map { own } else { vec![self.me] };
                    let map = has_map.then(|| self.map.clone());
                    self.actions.push(Action::Multicast(Note::Speech { round, speaks_for, map }));
                }
            }
        }
    }
}

/// Who sends the map to the member that joined with a view.
fn donor(view: &Membership) -> Option<MemberName> {
    view.members.iter().copied().find(|&member| view.cause != Cause::Join(member))
}

impl Map {
    fn apply(&mut self, command: Command) {
        self.count += 1;
        let (key, value) = match command {
            Command::Set { key, value } => (key, value),
            Command::Swap { key, old, new } => {
                if self.entries.get(&key).is_none_or(|entry| entry.value != old) {
                    return;
                }
                (key, new)
            }
            Command::Delete { key } => return drop(self.entries.remove(&key)),
        };
        self.entries.insert(key, Entry { value, at: self.count });
    }

    fn merged(maps: BTreeMap<MemberName, Self>) -> Self {
        let mut all = Self::default();
        for map in maps.into_values() {
            all.count = all.count.max(map.count);
            for (key, entry) in map.entries {
                if all.entries.get(&key).is_none_or(|other| other.at < entry.at) {
                    all.entries.insert(key, entry);
                }
            }
        }
        all
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { key, value } => write!(f, "set {key} {value}"),
            Self::Swap { key, old, new } => write!(f, "cas {key} {old} {new}"),
            Self::Delete { key } => write!(f, "del {key}"),
        }
    }
}

#[cfg(test)]
#[path = "simulation.rs"]
mod simulation;
