//! The stories: ordinary days first, then the end of views.

mod failures;
mod ordinary;

use super::Story;

pub(crate) const ALL: &[Story] = &[
    ordinary::FIRST_VIEW,
    ordinary::JOIN,
    ordinary::ONE_SENDS,
    ordinary::SAFE,
    ordinary::SMALL_AND_LARGE,
    ordinary::ORDERLY_LEAVE,
    failures::CRASH,
    failures::LOST_TAIL,
    failures::PARTITION_AND_MERGE,
    failures::CRASH_DURING_RECOVERY,
    failures::OBLIGATION,
    failures::NON_TRANSITIVE,
    failures::BROKEN_LINK,
    failures::LARGE_MESSAGE,
];
