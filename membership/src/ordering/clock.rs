//! The three numbers of a daemon in a view: clock, horizon, stable (PROTOCOL O1 to O4).

/// Lamport clock, what was heard from whom, and what others said that they hold.
#[derive(Clone, Debug)]
pub(crate) struct Clocks {
    me: usize,
    clock: u64,
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
        Self { me, clock: 0, heard: vec![0; members], seen: vec![0; members], stable: 0, announced: (0, 0) }
    }

    pub(crate) fn clock(&self) -> u64 {
        self.clock
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

    /// My next data frame is made: its clock.
    pub(crate) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.heard[self.me] = self.clock;
        self.clock
    }

    /// The news go out.
    pub(crate) fn announce(&mut self) -> (u64, u64) {
        self.announced = self.news();
        self.announced
    }

    /// `rank` announced `clock`, and all its frames up to there are here.
    pub(crate) fn hear(&mut self, rank: usize, clock: u64) {
        self.fill(rank, clock);
        self.heard[self.me] = self.clock;
    }

    /// Others brought all frames of `rank` up to `clock`. This says nothing about my own frames: the view is over,
    /// and what I reported of them stays.
    pub(crate) fn fill(&mut self, rank: usize, clock: u64) {
        self.heard[rank] = self.heard[rank].max(clock);
        if !mutant!(ClockNotAdvanced) {
            self.clock = self.clock.max(clock);
        }
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
        assert_eq!(clocks.tick(), 1);
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
        clocks.hear(2, 4);
        clocks.advance();
        assert_eq!((clocks.clock(), clocks.horizon(), clocks.stable()), (4, 1, 0));
        clocks.see(1, 1);
        clocks.see(2, 3);
        clocks.advance();
        assert_eq!(clocks.stable(), 1);
    }
}
