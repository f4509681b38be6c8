//! The bodies on random bytes, a few seconds each. `PROPTEST_CASES` sets how many.

use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn peer_frames_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        stentor_fuzz::peer_frames(&bytes);
    }

    #[test]
    fn frames_of_clients_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        stentor_fuzz::frames_of_clients(&bytes);
    }

    #[test]
    fn frames_of_daemons_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        stentor_fuzz::frames_of_daemons(&bytes);
    }

    #[test]
    fn texts_are_read_or_refused(bytes in vec(any::<u8>(), 0..100)) {
        stentor_fuzz::texts(&bytes);
    }

    #[test]
    fn configurations_are_read_or_refused(bytes in vec(any::<u8>(), 0..100)) {
        stentor_fuzz::config(&bytes);
    }

    #[test]
    fn a_lying_peer_harms_nobody_else(bytes in vec(any::<u8>(), 0..3000)) {
        stentor_fuzz::lying_peer(&bytes);
    }
}
