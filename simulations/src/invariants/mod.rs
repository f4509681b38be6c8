//! The guarantees, each checked on the history of a run.
//!
//! | file | guarantee | source |
//! | --- | --- | --- |
//! | `self_inclusion` | E1: a daemon is in every view that it installs | CKV Self Inclusion |
//! | `monotone_views` | E2: the ids of the views of a daemon increase | CKV Local Monotonicity |
//! | `view_agreement` | E2: one id, one list of members; primary means a majority | EVS 2 |
//! | `sending_view` | E3: delivered in the view that it was sent in, or right after it | CKV Sending View Delivery |
//! | `no_creation` | E4: only what was sent is delivered, unaltered | CKV Delivery Integrity, EVS 1 |
//! | `no_duplicate` | E4: nothing is delivered twice | CKV No Duplication, EVS 1 |
//! | `receivers` | E4, E13: an event reaches exactly the local members of its groups | PROTOCOL |
//! | `self_delivery` | E5: a sender that lives delivers what it sent | CKV Self Delivery, EVS 3 |
//! | `virtual_synchrony` | E6: who moves together has delivered the same | CKV Virtual Synchrony, EVS 4 |
//! | `fifo` | E7: in the order of the sending session, without gaps | CKV Reliable FIFO |
//! | `causal` | E8: causes come first | CKV Reliable Causal, EVS 5 |
//! | `total_order` | E9: one order for everybody | CKV Strong Total Order, EVS 6 |
//! | `no_holes` | E10: nothing in front of a delivered message is missing | CKV Reliable Total Order, EVS 6 |
//! | `safe_delivery` | E11: what is delivered as safe, all of the configuration deliver | EVS 7 |
//! | `transitional_set` | E12: who moves together agrees on who does | CKV Transitional Set |
//! | `orderly_leave` | a daemon that leaves with nothing under way takes nothing with it | the core's interface |
//! | `group_views` | E13: views of a group agree and follow from their causes | EVS 2, for groups |
//! | `group_synchrony` | E13: members that move together have got the same | CKV Virtual Synchrony, for groups |
//! | `group_sets` | G4: a network change tells who moved together | CKV Transitional Set, for groups |
//! | `group_warnings` | G5: groups that lose members are told in time | EVS, transitional configuration, for groups |
//!
//! CKV: Chockler, Keidar, Vitenberg, Group communication specifications (ACM CSUR 2001), by the names of its
//! properties. EVS: Moser, Amir, Melliar-Smith, Agarwal, Extended virtual synchrony (ICDCS 1994), by the numbers
//! of its specifications.

mod causal;
mod fifo;
mod group_sets;
mod group_synchrony;
mod group_views;
mod group_warnings;
mod monotone_views;
mod no_creation;
mod no_duplicate;
mod no_holes;
mod orderly_leave;
mod receivers;
mod safe_delivery;
mod self_delivery;
mod self_inclusion;
mod sending_view;
#[cfg(test)]
mod story;
mod total_order;
mod transitional_set;
mod view_agreement;
mod virtual_synchrony;

use std::fmt;

use crate::facts::Facts;
use crate::history::History;

/// Something that must not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise was broken, such as `E6 virtual synchrony`.
    pub promise: &'static str,
    /// How.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.text)
    }
}

type Check = fn(&Facts<'_>) -> Result<(), String>;

const ALL: &[(&str, Check)] = &[
    ("E1 self-inclusion", self_inclusion::check),
    ("E2 monotone views", monotone_views::check),
    ("E2 view agreement", view_agreement::check),
    ("E3 sending view", sending_view::check),
    ("E4 no creation", no_creation::check),
    ("E4 no duplicate", no_duplicate::check),
    ("E4 receivers", receivers::check),
    ("E5 self-delivery", self_delivery::check),
    ("E6 virtual synchrony", virtual_synchrony::check),
    ("E7 FIFO", fifo::check),
    ("E8 causal", causal::check),
    ("E9 agreed order", total_order::check),
    ("E10 no holes", no_holes::check),
    ("E11 safe", safe_delivery::check),
    ("E12 transitional agreement", transitional_set::check),
    ("orderly leave", orderly_leave::check),
    ("E13 group views", group_views::check),
    ("E13 group synchrony", group_synchrony::check),
    ("G4 group sets", group_sets::check),
    ("G5 group warnings", group_warnings::check),
];

/// The names of all guarantees.
#[cfg(stentor_mutants)]
pub(crate) fn promises() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(promise, _)| *promise)
}

/// Checks every guarantee; the first breach of each is told.
pub fn check(history: &History) -> Vec<Violation> {
    let facts = Facts::new(history);
    let broken = |(promise, check): &(&'static str, Check)| {
        check(&facts).err().map(|text| Violation { promise, text })
    };
    ALL.iter().filter_map(broken).collect()
}
