//! Replicas in a group that keeps its promises, with members that come, crash, and part and meet in all ways.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;
use stentor_client::{DaemonName, GroupName, SessionName};

use super::*;

/// A group as the members of its partitions see it. A message waits at its sender, then is delivered to all in its
/// partition at once: virtual synchrony at its plainest.
struct World {
    members: BTreeMap<MemberName, Member>,
    events: u64,
    /// What replica 0 should hold as long as nothing was parted.
    model: Option<BTreeMap<String, String>>,
    /// Keys that a live member has held.
    seen: BTreeSet<String>,
}

struct Member {
    replica: Replica,
    partition: u8,
    outbox: VecDeque<Action>,
}

#[derive(Clone, Debug)]
enum Step {
    Join(u8),
    Crash(Vec<u8>, bool),
    Command(u8, Command),
    Deliver(Vec<u8>),
    Regroup(Vec<bool>),
}

fn name(index: usize) -> MemberName {
    let session = SessionName::new(&format!("{index:03}")).unwrap();
    MemberName { daemon: DaemonName::new("a").unwrap(), session }
}

impl World {
    fn new() -> Self {
        let mut world =
            Self { members: BTreeMap::new(), events: 0, model: Some(BTreeMap::new()), seen: BTreeSet::new() };
        world.join(name(500), 0);
        world
    }

    fn pick(&self, index: u8) -> MemberName {
        *self.members.keys().nth(usize::from(index) % self.members.len()).unwrap()
    }

    fn partition(&self, partition: u8) -> Vec<MemberName> {
        self.members.iter().filter(|(_, m)| m.partition == partition).map(|(&name, _)| name).collect()
    }

    fn join(&mut self, who: MemberName, partition: u8) {
        if self.members.contains_key(&who) {
            return;
        }
        if partition > 0 {
            self.model = None;
        }
        let member = Member { replica: Replica::new(who), partition, outbox: VecDeque::new() };
        self.members.insert(who, member);
        self.change(partition, Cause::Join(who), &[]);
    }

    fn change(&mut self, partition: u8, cause: Cause, sets: &[Vec<MemberName>]) {
        self.events += 1;
        let members: Vec<_> = self.partition(partition);
        let daemon = stentor_membership::DaemonId { name: name(0).daemon, incarnation: 0 };
        let view = stentor_membership::ViewId { epoch: self.events, proposer: daemon };
        let position = stentor_membership::Position::default();
        for who in &members {
            let stayed = sets.iter().find(|set| set.contains(who)).unwrap_or(&members);
            let view = Membership {
                group: GroupName::new("kv").unwrap(),
                view: GroupViewId { view, toward: None, position },
                members: members.clone().into(),
                cause,
                stayed: stayed.clone().into(),
                sets: sets.into(),
            };
            self.hand(*who, Input::Membership(view));
        }
    }

    fn hand(&mut self, to: MemberName, input: Input) {
        let member = self.members.get_mut(&to).unwrap();
        let actions = member.replica.handle(input);
        member.outbox.extend(actions);
    }

    /// Delivers what has waited longest at a member.
    fn deliver(&mut self, from: MemberName) -> bool {
        let sender = self.members.get_mut(&from).unwrap();
        let partition = sender.partition;
        match sender.outbox.pop_front() {
            None => return false,
            Some(Action::Send(to, note)) => {
                if self.members.get(&to).is_some_and(|m| m.partition == partition) {
                    self.hand(to, Input::Note(from, note));
                }
            }
            Some(Action::Multicast(note)) => {
                if let (Note::Command(command), Some(model)) = (&note, &mut self.model) {
                    model_apply(model, command.clone());
                }
                for to in self.partition(partition) {
                    self.hand(to, Input::Note(from, note.clone()));
                }
            }
        }
        true
    }

    fn crash(&mut self, who: &[MemberName], together: bool) {
        for name in who {
            let Some(member) = self.members.remove(name) else { continue };
            if !together {
                self.change(member.partition, Cause::Disconnect(*name), &[]);
            }
        }
        if together {
            for partition in 0..2 {
                let left = self.partition(partition);
                self.change(partition, Cause::Network, &[left]);
            }
        }
    }

    /// Everybody finds itself in one of two partitions, from wherever it was.
    fn regroup(&mut self, sides: &[bool]) {
        let before: [Vec<_>; 2] = [self.partition(0), self.partition(1)];
        for (member, side) in self.members.values_mut().zip(sides.iter().chain(std::iter::repeat(&false))) {
            member.partition = u8::from(*side);
        }
        for partition in 0..2 {
            let now = self.partition(partition);
            if now == before[usize::from(partition)] {
                continue;
            }
            self.model = None;
            let came = |from: &Vec<MemberName>| from.iter().copied().filter(|m| now.contains(m)).collect();
            let sets: Vec<Vec<_>> = before.iter().map(came).filter(|set: &Vec<_>| !set.is_empty()).collect();
            self.change(partition, Cause::Network, &sets);
        }
    }

    fn run(&mut self, step: &Step, number: usize) {
        match step {
            // Names lower and higher than those that are there.
            Step::Join(place) => self.join(name(usize::from(*place) * 4 + number % 4), place % 2),
            Step::Crash(who, together) => {
                let keep = name(500);
                let who: Vec<_> = who.iter().map(|&index| self.pick(index)).filter(|&m| m != keep).collect();
                self.crash(&who, *together);
            }
            Step::Command(who, command) => {
                let who = self.pick(*who);
                let note = Note::Command(command.clone());
                self.members.get_mut(&who).unwrap().outbox.push_back(Action::Multicast(note));
            }
            Step::Deliver(who) => {
                for &index in who {
                    self.deliver(self.pick(index));
                }
            }
            Step::Regroup(sides) => self.regroup(sides),
        }
    }

    fn check(&mut self) {
        for partition in 0..2 {
            let mut live = self.members.values().filter(|m| m.partition == partition && m.replica.is_ready());
            if let Some(first) = live.next() {
                self.seen.extend(first.replica.entries().map(|(key, _)| key.to_owned()));
                live.for_each(|other| assert_eq!(first.replica.map, other.replica.map));
            }
        }
    }

    fn settle(&mut self) {
        self.regroup(&[]);
        for _ in 0..100_000 {
            let names: Vec<_> = self.members.keys().copied().collect();
            if names.into_iter().filter(|&name| self.deliver(name)).count() == 0 {
                return;
            }
        }
        panic!("it does not come to rest");
    }
}

fn model_apply(model: &mut BTreeMap<String, String>, command: Command) {
    match command {
        Command::Set { key, value } => drop(model.insert(key, value)),
        Command::Swap { key, old, new } => {
            if model.get(&key) == Some(&old) {
                model.insert(key, new);
            }
        }
        Command::Delete { key } => drop(model.remove(&key)),
    }
}

fn command() -> impl Strategy<Value = Command> {
    let word = || "[a-c]";
    prop_oneof![
        ("[a-h]", word()).prop_map(|(key, value)| Command::Set { key, value }),
        (word(), word(), word()).prop_map(|(key, old, new)| Command::Swap { key, old, new }),
        word().prop_map(|key| Command::Delete { key }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<u8>().prop_map(Step::Join),
        2 => (vec(any::<u8>(), 1..4), any::<bool>()).prop_map(|(who, together)| Step::Crash(who, together)),
        4 => (any::<u8>(), command()).prop_map(|(who, command)| Step::Command(who, command)),
        8 => vec(any::<u8>(), 1..6).prop_map(Step::Deliver),
        2 => vec(any::<bool>(), 8).prop_map(Step::Regroup),
        2 => Just(Step::Regroup(Vec::new())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn all_members_end_with_the_same_map(steps in vec(step(), 1..60)) {
        let mut world = World::new();
        for (number, step) in steps.iter().enumerate() {
            world.run(step, number);
            world.check();
        }
        world.settle();
        let first = &world.members[&name(500)].replica;
        for member in world.members.values() {
            prop_assert!(member.replica.is_ready(), "{} is not ready", member.replica.me);
            prop_assert_eq!(&member.replica.map, &first.map);
        }
        if let Some(model) = &world.model {
            let map: BTreeMap<_, _> = first.entries().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(&map, model);
        }
        let loses = |step: &Step| matches!(step, Step::Crash(..) | Step::Command(_, Command::Delete { .. }));
        if !steps.iter().any(loses) {
            for key in &world.seen {
                prop_assert!(first.get(key).is_some(), "{} is lost", key);
            }
        }
    }
}
