//! Deliberate faults of the core, to show that the checks of the simulator can see.
//!
//! `mutant!(Name)` in the core is false, and what depends on it is not compiled in. Only with `--cfg stentor_mutants`,
//! which no release can have, is it true while that mutant is planted in the thread.

#[cfg(all(stentor_mutants, not(debug_assertions)))]
compile_error!("a core with planted faults is for simulations only; they keep debug assertions");

/// Whether a mutant is planted.
#[cfg(stentor_mutants)]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutant::is_planted($crate::mutant::Mutant::$name)
    };
}

/// Whether a mutant is planted: never.
#[cfg(not(stentor_mutants))]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}

#[cfg(stentor_mutants)]
pub use self::planted::Mutant;
#[cfg(stentor_mutants)]
pub(crate) use self::planted::is_planted;

#[cfg(stentor_mutants)]
mod planted {
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether `mutant` is planted in this thread. The faults of a run are those of its thread, so that runs with
    /// different ones can go on side by side.
    pub(crate) fn is_planted(mutant: Mutant) -> bool {
        PLANTED.get() == Some(mutant)
    }

    macro_rules! mutants {
        ($(#[doc = $text:literal] $name:ident = $clause:literal,)+) => {
            /// A deliberate fault: what goes wrong with it, and the clause of `PROTOCOL.md` that it breaks.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum Mutant {
                $(#[doc = concat!($text, " (", $clause, ").")] $name,)+
            }

            impl Mutant {
                /// All of them, in the order of the clauses.
                pub const ALL: &[Self] = &[$(Self::$name),+];

                /// What goes wrong.
                pub fn text(self) -> &'static str {
                    match self { $(Self::$name => $text,)+ }.trim()
                }

                /// The clause that is broken.
                pub fn clause(self) -> &'static str {
                    match self { $(Self::$name => $clause,)+ }.trim_start_matches("PROTOCOL ")
                }

                /// Does `work` with this fault in all nodes of the thread.
                pub fn plant<T>(self, work: impl FnOnce() -> T) -> T {
                    PLANTED.set(Some(self));
                    let done = work();
                    PLANTED.set(None);
                    done
                }
            }
        };
    }

    mutants! {
        /// messages with equal clocks are delivered own first, as they came
        TieByArrival = "PROTOCOL O1",
        /// the clock does not advance on receipt
        ClockNotAdvanced = "PROTOCOL O1",
        /// the horizon leaves out one member
        HorizonWithoutOne = "PROTOCOL O2",
        /// stable leaves out one member
        StableWithoutOne = "PROTOCOL O3",
        /// the clock of a heartbeat counts although data before it is not here
        HeartbeatBelieved = "PROTOCOL O4.4",
        /// a clock that was announced ahead of the data is not kept
        PromiseBroken = "PROTOCOL O4.5",
        /// Reliable and Fifo messages overtake those of their session that wait
        WaitingOvertaken = "PROTOCOL O5.1",
        /// what was delivered on receipt is delivered again at its place in the order
        DeliveredAgain = "PROTOCOL O5.1",
        /// Causal messages are delivered on receipt
        CausalOnReceipt = "PROTOCOL O5.2",
        /// Safe messages are delivered at the horizon
        SafeAtHorizon = "PROTOCOL O5.3",
        /// frames are forgotten as soon as they are delivered
        DeliveredForgotten = "PROTOCOL O6",
        /// frames are never forgotten
        NothingForgotten = "PROTOCOL O6",
        /// a doubled datagram is delivered twice
        DatagramTwice = "PROTOCOL O7",
        /// a datagram of another view is delivered
        DatagramStrayed = "PROTOCOL O7",
        /// a piece in the middle of a message is lost
        PieceLost = "PROTOCOL O8",
        /// a message that was partly sent is lost with the view
        PartSentLost = "PROTOCOL O8",
        /// the window is not kept
        WindowIgnored = "PROTOCOL F1",
        /// what waits to be sent is lost with the view
        QueueLost = "PROTOCOL F2",
        /// sessions are not told that there is room again
        RoomNotTold = "PROTOCOL F2",
        /// an orderly stop does not wait for what is under way
        LeavesEarly = "PROTOCOL F2",
        /// a daemon with nothing to recover sends no heartbeats
        IdleSilent = "PROTOCOL D1",
        /// a link that came back is used again in the view that it broke in
        BrokenLinkReused = "PROTOCOL V3.2",
        /// the clock that comes over a later link counts in the view that the link broke in
        ClockAfterBreak = "PROTOCOL V3.2",
        /// data is taken in after the freeze
        DataAfterFreeze = "PROTOCOL V3.3",
        /// a failed attempt thaws the view
        FailureThaws = "PROTOCOL V3.3",
        /// nobody proposes again after a failed attempt
        NoSecondProposal = "PROTOCOL V3.4",
        /// views that stand are not merged
        NoMerge = "PROTOCOL V3.4",
        /// the view is installed without its last member
        MemberLeftOut = "PROTOCOL V4.1",
        /// a proposal has the epoch of the one before
        EpochReused = "PROTOCOL V4.1",
        /// proposals with old epochs are accepted
        OldEpochAccepted = "PROTOCOL V4.2",
        /// daemons are taken out of views that stand, and agree to it
        ViewsTorn = "PROTOCOL V4.2",
        /// members of the old view count as having come along although they came another way
        AlongByName = "PROTOCOL V5.1",
        /// the last frame that others lack is not resent
        ResendLost = "PROTOCOL V5.2",
        /// `Recovered` is said before everything is here
        RecoveredUnchecked = "PROTOCOL V5.4",
        /// `Recovered` is said without taking on the obligation
        ObligationSkipped = "PROTOCOL V5.4",
        /// the obligations that others report do not count
        OthersObligationsIgnored = "PROTOCOL V5.4",
        /// the view is installed before the last member recovered
        InstallUnrecovered = "PROTOCOL V6",
        /// at the end of a view, Safe messages are delivered at the horizon as in regular configuration
        SafeAtEnd = "PROTOCOL V6.1",
        /// a daemon discards its own messages beyond the horizon
        OwnDiscarded = "PROTOCOL V6.2",
        /// nothing is discarded
        NothingDiscarded = "PROTOCOL V6.2",
        /// what follows a discarded message in its session is delivered
        DiscardedOvertaken = "PROTOCOL V6.2",
        /// the transitional configuration is reported after its messages
        TransitionalLate = "PROTOCOL V6.2",
        /// frames of the next view that come before it are dropped
        EarlyFramesDropped = "PROTOCOL V6.3",
        /// a daemon reports its views without itself
        SelfMissing = "PROTOCOL V6.3",
        /// a failed attempt ends the obligations
        ObligationForgotten = "PROTOCOL V7.1",
        /// half of the configured daemons count as a majority
        HalfIsPrimary = "PROTOCOL V8",
        /// a change of a group comes one message early
        ChangeEarly = "PROTOCOL G1",
        /// a leave is reported as a disconnect
        CauseConfused = "PROTOCOL G1",
        /// the members of a group are in reverse order
        MembersUnsorted = "PROTOCOL G1",
        /// nobody is told of a session that disconnected
        DisconnectUntold = "PROTOCOL G1",
        /// a change in a transitional configuration has the same id in all of them
        TowardForgotten = "PROTOCOL G1",
        /// of several local receivers, the last one gets no copy
        LastReceiverLeftOut = "PROTOCOL G2",
        /// who gets a sender's messages is not worked out anew when a group changes
        RouteKept = "PROTOCOL G2",
        /// a private message goes to whoever has that name at any daemon
        PrivateToNamesakes = "PROTOCOL G2",
        /// a sender that wants no copy gets one
        OwnCopyKept = "PROTOCOL G2",
        /// of each session's groups only the first is listed
        ListShortened = "PROTOCOL G3.1",
        /// the table counts as complete while one list is missing
        TableWithoutOne = "PROTOCOL G3.2",
        /// sessions send before the table is complete
        SendBeforeTable = "PROTOCOL G3.2",
        /// messages that waited for a table that never came are delivered in the next view
        EarlyReliableKept = "PROTOCOL G3.3",
        /// the table is completed in a transitional configuration
        TableInTransition = "PROTOCOL G3.4",
        /// no two members of a group count as having moved together
        SetsSplit = "PROTOCOL G4",
        /// daemons that parted and met again count as having moved together
        CompanionsKept = "PROTOCOL G4",
        /// groups are not told of a transitional configuration
        GroupsUnwarned = "PROTOCOL G5",
        /// a group is told of every transitional configuration until its next view
        GroupsWarnedTwice = "PROTOCOL G5",
    }
}
