//! The three numbers of a daemon in a view: clock, horizon, stable (PROTOCOL O1 to O4).

/// A clock goes ahead of the data by at most so many frames (PROTOCOL O4.5).
const LOOKAHEAD_MAX: u64 = 1024;

/// Who sends as often as the others has fewer than so many frames of each to listen to in between, mostly. Its clock stays
/// with theirs: frames that cross then answer one another.
const TURNS: u64 = 4;

/// Lamport clock, what was heard from whom, and what others said that they hold.
#[derive(Clone, Debug)]
pub(crate) struct Clocks {
    me: usize,
    /// My next data frame comes after it.
    clock: u64,
    /// The highest clock of a data frame.
    newest: u64,
    /// Data frames of others since my own last one; each own one halves it.
    listened: u64,
    /// For each rank, the highest clock c such that all its frames up to c are here. Mine is my clock.
    heard: Vec<u64>,
    /// For each rank, the last horizon that it announced. Mine is my horizon.
    seen: Vec<u64>,
    stable: u64,
    /// The clock and horizon that I announced last.
    announced: (u64, u64),
}

impl Clocks {
    pub(crate) fn new(members: usize, me: usize) -> Self {
        let (heard, seen) = (vec![0; members], vec![0; members]);
        Self { me, clock: 0, newest: 0, listened: 0, heard, seen, stable: 0, announced: (0, 0) }
    }

    pub(crate) fn clock(&self) -> u64 {
        self.clock
    }

    /// The highest clock of a data frame.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    pub(crate) fn heard(&self) -> &[u64] {
        &self.heard
    }

    /// Everything up to here is here, from everybody (PROTOCOL O2).
    pub(crate) fn horizon(&self) -> u64 {
        let left_out = usize::from(mutant!(HorizonWithoutOne) && self.me > 0);
        self.heard.iter().skip(left_out).copied().min().unwrap_or_default()
    }

    /// Everything up to here is at everybody (PROTOCOL O3).
    pub(crate) fn stable(&self) -> u64 {
        self.stable
    }

    /// What the next announcement would say: clock and horizon.
    pub(crate) fn news(&self) -> (u64, u64) {
        (self.clock, self.horizon())
    }

    pub(crate) fn announced(&self) -> (u64, u64) {
        self.announced
    }

    /// My next data frame is made.
    pub(crate) fn tick(&mut self) {
        self.newest = self.next();
        self.pass(self.newest);
        self.listened /= 2;
    }

    /// The clock of my next data frame.
    pub(crate) fn next(&self) -> u64 {
        if mutant!(PromiseBroken) { self.newest + 1 } else { self.clock + 1 }
    }

    /// A data frame of `rank` with `clock` is here.
    pub(crate) fn receive(&mut self, rank: usize, clock: u64) {
        self.hear(rank, clock);
        self.newest = self.newest.max(clock);
        self.listened = self.listened.saturating_add(1);
        if !mutant!(ClockNotAdvanced) {
            self.pass(clock);
        }
    }

    /// All frames of `rank` up to `clock` are here.
    pub(crate) fn hear(&mut self, rank: usize, clock: u64) {
        self.heard[rank] = self.heard[rank].max(clock);
    }

    /// Others brought all frames of `rank` up to `clock`; of mine as well, if one of them lies about them (PROTOCOL W3).
    pub(crate) fn fill(&mut self, rank: usize, clock: u64) {
        self.hear(rank, clock);
        self.clock = self.clock.max(self.heard[self.me]);
    }

    /// The longer I only listened, the further my clock goes ahead: what comes up to there waits for no answer of mine
    /// (PROTOCOL O4.5).
    pub(crate) fn go_ahead(&mut self) {
        let longer = self.listened.saturating_sub(TURNS * self.heard.len() as u64);
        self.pass(self.newest + longer.min(LOOKAHEAD_MAX));
    }

    /// The news go out.
    pub(crate) fn announce(&mut self) -> (u64, u64) {
        self.announced = self.news();
        self.announced
    }

    fn pass(&mut self, clock: u64) {
        self.clock = self.clock.max(clock);
        self.heard[self.me] = self.clock;
    }

    /// `rank` holds everything up to `horizon`.
    pub(crate) fn see(&mut self, rank: usize, horizon: u64) {
        self.seen[rank] = self.seen[rank].max(horizon);
    }

    /// Takes in what changed. Call before reading [`stable`](Self::stable).
    pub(crate) fn advance(&mut self) {
        self.seen[self.me] = self.horizon();
        let left_out = usize::from(mutant!(StableWithoutOne) && self.me > 0);
        let stable = self.seen.iter().skip(left_out).copied().min().unwrap_or_default();
        self.stable = self.stable.max(stable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_daemon_is_stable_at_once() {
        let mut clocks = Clocks::new(1, 0);
        clocks.tick();
        clocks.advance();
        assert_eq!((clocks.horizon(), clocks.stable()), (1, 1));
    }

    #[test]
    fn the_horizon_waits_for_the_last_and_stable_for_the_last_horizon() {
        let mut clocks = Clocks::new(3, 0);
        clocks.tick();
        clocks.hear(1, 1);
        clocks.advance();
        assert_eq!(clocks.horizon(), 0);
        clocks.receive(2, 4);
        clocks.advance();
        assert_eq!((clocks.clock(), clocks.horizon(), clocks.stable()), (4, 1, 0));
        clocks.see(1, 1);
        clocks.see(2, 3);
        clocks.advance();
        assert_eq!(clocks.stable(), 1);
    }

    #[test]
    fn no_horizon_is_beyond_the_clock_whatever_others_say_of_my_frames() {
        let mut clocks = Clocks::new(2, 0);
        clocks.tick();
        for rank in [1, 0] {
            clocks.fill(rank, 9);
            clocks.advance();
            assert!(clocks.horizon() <= clocks.clock(), "{clocks:?}");
        }
    }

    /// How far a clock goes ahead of the data after so many frames of others.
    fn lookahead(clocks: &mut Clocks, frames: u64) -> u64 {
        for _ in 0..frames {
            clocks.receive(1, clocks.newest + 1);
        }
        clocks.go_ahead();
        clocks.clock() - clocks.newest
    }

    #[test]
    fn who_only_listens_goes_ahead_and_who_takes_turns_does_not() {
        let mut clocks = Clocks::new(3, 0);
        for _ in 0..100 {
            clocks.tick();
            assert_eq!(lookahead(&mut clocks, 2), 0);
        }
        assert_eq!(lookahead(&mut clocks, 20), 11);
        assert_eq!(lookahead(&mut clocks, 0), 11, "it goes ahead of the data, not of itself");
        assert_eq!(lookahead(&mut clocks, 2 * LOOKAHEAD_MAX), LOOKAHEAD_MAX);
        assert_eq!(clocks.next(), clocks.clock() + 1, "nothing comes before what was announced");
    }

    #[test]
    fn a_clock_that_is_ahead_takes_no_other_along() {
        let mut clocks = Clocks::new(2, 0);
        clocks.tick();
        clocks.hear(1, 1000);
        clocks.advance();
        assert_eq!((clocks.clock(), clocks.horizon()), (1, 1));
        clocks.tick();
        clocks.advance();
        assert_eq!(clocks.horizon(), 2, "the next one waits for nobody");
    }
}
