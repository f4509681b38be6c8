//! Who is linked to whom, as everybody says: my links, and the statuses of my peers (PROTOCOL V2.1).
//!
//! With many daemons this is asked for every frame of a view change. So daemons are numbered, and what is asked of all
//! pairs is asked of sets of numbers.

use std::collections::BTreeMap;

use crate::id::DaemonId;
use crate::wire::Status;

/// My own number: I am the first that is numbered.
pub(super) const ME: usize = 0;

/// My links and what my peers told.
#[derive(Debug)]
pub(crate) struct Board {
    me: DaemonId,
    peers: BTreeMap<DaemonId, Peer>,
    /// A number for every daemon that is named here.
    numbers: BTreeMap<DaemonId, usize>,
    /// My links, and me.
    mine: Set,
    /// The members of my view.
    view: Set,
}

/// A daemon that I have a link to.
#[derive(Debug)]
struct Peer {
    number: usize,
    told: Option<Told>,
}

#[derive(Debug)]
struct Told {
    status: Status,
    linked: Set,
    members: Set,
}

/// A set of daemons, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(Vec<u64>);

/// A peer that told its status.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) id: DaemonId,
    pub(super) number: usize,
    pub(super) status: &'a Status,
    /// The members of its view.
    pub(super) members: &'a Set,
}

/// The board with an index by number.
#[derive(Debug)]
pub(super) struct Reach<'a> {
    /// By number: whom that daemon says that it is linked to, itself included. Unknown daemons reach nobody.
    linked: Vec<Option<&'a Set>>,
}

impl Board {
    pub(super) fn new(me: DaemonId) -> Self {
        let mut board = Self {
            me,
            peers: BTreeMap::new(),
            numbers: BTreeMap::new(),
            mine: Set::default(),
            view: Set::of(ME),
        };
        board.mine = board.set(&[me]);
        board
    }

    /// Whom I have links to, sorted.
    pub(crate) fn links(&self) -> impl Iterator<Item = DaemonId> {
        self.peers.keys().copied()
    }

    /// Whether I have a link to this daemon.
    pub(crate) fn has_link(&self, peer: DaemonId) -> bool {
        self.peers.contains_key(&peer)
    }

    /// A link came up, or another one in the place of an old one: what the peer told over that counts no more.
    pub(super) fn link_up(&mut self, peer: DaemonId) {
        let number = self.number(peer);
        self.peers.insert(peer, Peer { number, told: None });
        self.mine.insert(number);
    }

    /// A link ended; false if there was none.
    pub(super) fn link_down(&mut self, peer: DaemonId) -> bool {
        let Some(Peer { number, .. }) = self.peers.remove(&peer) else { return false };
        self.mine.remove(number);
        true
    }

    /// A peer told its status.
    pub(super) fn tell(&mut self, peer: DaemonId, status: Status) {
        self.forget_strangers();
        let mut linked = self.set(&status.linked);
        let members = self.set(&status.members);
        if let Some(peer) = self.peers.get_mut(&peer) {
            linked.insert(peer.number);
            peer.told = Some(Told { status, linked, members });
        }
    }

    /// What a peer told last.
    pub(super) fn status(&self, peer: DaemonId) -> Option<&Status> {
        self.peers.get(&peer)?.told.as_ref().map(|told| &told.status)
    }

    /// The peers that told something, sorted.
    pub(super) fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        self.peers.iter().filter_map(|(id, Peer { number, told })| {
            let Told { status, members, .. } = told.as_ref()?;
            Some(Candidate { id: *id, number: *number, status, members })
        })
    }

    /// I installed a view; before the first one I was alone.
    pub(super) fn install(&mut self, members: &[DaemonId]) {
        self.view = self.set(members);
    }

    /// The members of my view.
    pub(super) fn my_view(&self) -> &Set {
        &self.view
    }

    /// Who reaches whom.
    pub(super) fn reach(&self) -> Reach<'_> {
        let mut linked = vec![None; self.numbers.len()];
        for peer in self.peers.values() {
            linked[peer.number] = peer.told.as_ref().map(|told| &told.linked);
        }
        linked[ME] = Some(&self.mine);
        Reach { linked }
    }

    /// The daemons of a set, sorted.
    pub(super) fn ids(&self, set: &Set) -> Vec<DaemonId> {
        self.numbers.iter().filter(|(_, number)| set.contains(**number)).map(|(id, _)| *id).collect()
    }

    fn set(&mut self, ids: &[DaemonId]) -> Set {
        let mut set = Set::default();
        for id in ids {
            set.insert(self.number(*id));
        }
        set
    }

    fn number(&mut self, id: DaemonId) -> usize {
        let next = self.numbers.len();
        *self.numbers.entry(id).or_insert(next)
    }

    /// Daemons come and go, and each start is another daemon: now and then all are numbered anew.
    fn forget_strangers(&mut self) {
        let told = self.peers.values().filter_map(|peer| peer.told.as_ref());
        let named: usize = told.map(|told| told.status.linked.len() + told.status.members.len()).sum();
        if self.numbers.len() <= named + self.peers.len() + FORGET_ABOVE {
            return;
        }
        let members = self.ids(&self.view);
        let fresh = Self::new(self.me);
        for (id, peer) in std::mem::replace(self, fresh).peers {
            self.link_up(id);
            if let Some(told) = peer.told {
                self.tell(id, told.status);
            }
        }
        self.install(&members);
    }
}

/// So many numbers may stand for daemons that nobody names.
const FORGET_ABOVE: usize = 256;

impl Reach<'_> {
    /// Whether a daemon says that it is linked to all of these, itself aside.
    pub(super) fn reaches(&self, daemon: usize, others: &Set) -> bool {
        let alone = others.is_only(daemon);
        alone || self.linked.get(daemon).copied().flatten().is_some_and(|linked| others.is_within(linked))
    }

    /// Whether all pairs of these are linked, as both ends of each say.
    pub(super) fn all_linked(&self, daemons: &Set) -> bool {
        daemons.numbers().all(|daemon| self.reaches(daemon, daemons))
    }

    /// Whether it is known what this daemon says.
    pub(super) fn knows(&self, daemon: usize) -> bool {
        self.linked.get(daemon).is_some_and(Option::is_some)
    }

    /// Whom all of these say that they are linked to.
    pub(super) fn reached_by_all(&self, daemons: &Set) -> Set {
        let linked = |daemon| {
            self.linked.get(daemon).and_then(|linked: &Option<&Set>| linked.cloned()).unwrap_or_default()
        };
        daemons.numbers().map(linked).reduce(|all, linked| all.and(&linked)).unwrap_or_default()
    }
}

impl Set {
    pub(super) fn of(number: usize) -> Self {
        let mut set = Self::default();
        set.insert(number);
        set
    }

    pub(super) fn insert(&mut self, number: usize) {
        if self.0.len() <= number / 64 {
            self.0.resize(number / 64 + 1, 0);
        }
        self.0[number / 64] |= 1 << (number % 64);
    }

    fn remove(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word &= !(1 << (number % 64));
        }
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word & 1 << (number % 64) != 0)
    }

    /// The members of this set or of the other.
    pub(super) fn with(&self, other: &Self) -> Self {
        let (short, long) = if self.0.len() < other.0.len() { (self, other) } else { (other, self) };
        let mut all = long.clone();
        all.0.iter_mut().zip(&short.0).for_each(|(all, word)| *all |= word);
        all
    }

    /// The members of this set that are in the other, too.
    pub(super) fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(mine, theirs)| mine & theirs).collect())
    }

    pub(super) fn is_within(&self, other: &Self) -> bool {
        let others = other.0.iter().copied().chain(std::iter::repeat(0));
        self.0.iter().zip(others).all(|(mine, theirs)| mine & !theirs == 0)
    }

    fn is_only(&self, number: usize) -> bool {
        self.numbers().all(|other| other == number)
    }

    /// The numbers, ascending.
    pub(super) fn numbers(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(at * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ViewId;
    use crate::name::DaemonName;

    fn daemon(number: u64) -> DaemonId {
        DaemonId { name: DaemonName::new("d").unwrap(), incarnation: number }
    }

    fn status(linked: &[u64], members: &[u64]) -> Status {
        let ids = |numbers: &[u64]| numbers.iter().map(|number| daemon(*number)).collect::<Vec<_>>();
        let view = ViewId { epoch: 1, proposer: daemon(members[0]) };
        Status { linked: ids(linked), view, members: ids(members), gathering: false, attempt: None, epoch: 1 }
    }

    #[test]
    fn pairs_are_linked_when_both_ends_say_so() {
        let mut board = Board::new(daemon(1));
        for peer in 2..=3 {
            board.link_up(daemon(peer));
        }
        board.tell(daemon(2), status(&[1, 2, 3], &[2]));
        board.tell(daemon(3), status(&[1, 3], &[3]));
        let numbers = |board: &mut Board, ids: &[u64]| {
            board.set(&ids.iter().map(|number| daemon(*number)).collect::<Vec<_>>())
        };
        let (pair, all) = (numbers(&mut board, &[1, 2]), numbers(&mut board, &[1, 2, 3]));
        assert!(board.reach().all_linked(&pair));
        assert!(!board.reach().all_linked(&all), "3 does not say that it is linked to 2");
        assert_eq!(board.reach().reached_by_all(&pair), all);
        assert_eq!(board.reach().reached_by_all(&all), numbers(&mut board, &[1, 3]));
        board.tell(daemon(3), status(&[1, 2, 3], &[3]));
        assert!(board.reach().all_linked(&all));
        assert_eq!(board.ids(&all), [daemon(1), daemon(2), daemon(3)]);
        assert!(board.link_down(daemon(3)) && !board.link_down(daemon(3)));
        assert!(!board.reach().all_linked(&all) && board.reach().all_linked(&pair));
    }

    #[test]
    fn daemons_that_nobody_names_are_forgotten() {
        let mut board = Board::new(daemon(0));
        board.link_up(daemon(1));
        board.install(&[daemon(0), daemon(1), daemon(7)]);
        for stranger in 0..10_000 {
            board.tell(daemon(1), status(&[0, 1, 100 + stranger], &[1]));
        }
        assert!(board.numbers.len() < 300, "{}", board.numbers.len());
        let view = board.my_view().clone();
        assert_eq!(board.ids(&view), [daemon(0), daemon(1), daemon(7)], "my view is not forgotten");
        let both = board.set(&[daemon(0), daemon(1)]);
        assert!(board.reach().all_linked(&both));
    }

    #[test]
    fn sets_of_any_size_compare() {
        let (mut small, mut large) = (Set::of(3), Set::of(3));
        large.insert(200);
        assert!(small.is_within(&large) && !large.is_within(&small));
        assert_eq!(small.with(&large).numbers().collect::<Vec<_>>(), [3, 200]);
        small.insert(130);
        large.remove(200);
        assert!(!small.is_within(&large) && large.is_within(&small));
        assert!(large.is_only(3) && !small.is_only(3));
    }
}
