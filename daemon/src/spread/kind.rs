//! The type word of a message: what it is, and for messages of programs the service level.

use stentor_membership::Service;

/// Both bits set in a word: its bytes are little-endian; neither: big-endian. A palindrome in bytes.
pub(super) const ENDIAN: u32 = 0x8000_0080;

pub(super) const UNRELIABLE: u32 = 0x01;
pub(super) const RELIABLE: u32 = 0x02;
pub(super) const FIFO: u32 = 0x04;
pub(super) const CAUSAL: u32 = 0x08;
pub(super) const AGREED: u32 = 0x10;
pub(super) const SAFE: u32 = 0x20;
pub(super) const SELF_DISCARD: u32 = 0x40;

pub(super) const BY_JOIN: u32 = 0x100;
pub(super) const BY_LEAVE: u32 = 0x200;
pub(super) const BY_DISCONNECT: u32 = 0x400;
pub(super) const BY_NETWORK: u32 = 0x800;
pub(super) const REGULAR: u32 = 0x1000;
pub(super) const TRANSITIONAL: u32 = 0x2000;

pub(super) const JOIN: u32 = 0x1_0000;
pub(super) const LEAVE: u32 = 0x2_0000;
pub(super) const KILL: u32 = 0x4_0000;
pub(super) const REJECT: u32 = 0x40_0000;

/// The bits of which a request has exactly one.
const REQUEST: u32 = SERVICE | JOIN | LEAVE | KILL;
/// The service levels.
const SERVICE: u32 = UNRELIABLE | RELIABLE | FIFO | CAUSAL | AGREED | SAFE;
/// What only daemons say: memberships, and the words that they have among themselves. From a program they would make
/// other programs believe what is not so.
const OF_DAEMONS: u32 = 0x0078_7f00;
/// What goes with a service level from sender to receivers; its meaning is the programs' affair.
const RELAYED: u32 = 0x7f80_8000 | SELF_DISCARD;

/// What a program asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Join,
    Leave,
    Kill,
    /// A message, with its word as its receivers will see it.
    Message(u32),
}

impl Kind {
    /// Reads the type word of a request.
    pub(super) fn of_request(word: u32) -> Result<Self, &'static str> {
        if (word & REQUEST).count_ones() != 1 {
            return Err("must say exactly one of the six service levels, join, leave and kill");
        }
        if word & OF_DAEMONS != 0 {
            return Err("has bits that only daemons use");
        }
        Ok(match word & REQUEST {
            JOIN => Self::Join,
            LEAVE => Self::Leave,
            KILL => Self::Kill,
            _ => Self::Message(word & (SERVICE | RELAYED)),
        })
    }
}

/// The level at which a message travels: never weaker than what Spread 5 does for it, where programs cannot tell.
/// It treats UNRELIABLE as RELIABLE and FIFO as AGREED.
pub(super) fn service(word: u32) -> Service {
    match word & SERVICE {
        UNRELIABLE | RELIABLE => Service::Reliable,
        CAUSAL => Service::Causal,
        SAFE => Service::Safe,
        _ => Service::Agreed,
    }
}

/// The word of a message of which only the level is known.
pub(super) const fn word(service: Service) -> u32 {
    match service {
        Service::Unreliable => UNRELIABLE,
        Service::Reliable => RELIABLE,
        Service::Fifo => FIFO,
        Service::Causal => CAUSAL,
        Service::Agreed => AGREED,
        Service::Safe => SAFE,
    }
}

/// A word that came with a message, if a program could have sent it.
pub(super) fn relayed(word: u32) -> Option<u32> {
    let valid = (word & SERVICE).count_ones() == 1 && word & !(SERVICE | RELAYED) == 0;
    valid.then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_one_thing() {
        for bit in [0, 1, 2, 3, 4, 5] {
            assert_eq!(Kind::of_request(1 << bit), Ok(Kind::Message(1 << bit)));
            for other in [16, 17, 18] {
                Kind::of_request(1 << bit | 1 << other).unwrap_err();
            }
        }
        Kind::of_request(0).unwrap_err();
        Kind::of_request(AGREED | SAFE).unwrap_err();
        assert_eq!(Kind::of_request(JOIN), Ok(Kind::Join));
        assert_eq!(Kind::of_request(LEAVE), Ok(Kind::Leave));
        assert_eq!(Kind::of_request(KILL), Ok(Kind::Kill));
    }

    #[test]
    fn the_words_of_daemons_are_refused_and_harmless_extras_relayed() {
        for bit in (8..15).chain(19..=22) {
            assert!(Kind::of_request(AGREED | 1 << bit).is_err(), "bit {bit}");
        }
        for extra in [SELF_DISCARD, 0x8000, 0x0100_0000, 0x4000_0000] {
            assert_eq!(Kind::of_request(SAFE | extra), Ok(Kind::Message(SAFE | extra)));
            assert_eq!(relayed(SAFE | extra), Some(SAFE | extra));
        }
        assert_eq!(relayed(AGREED | REGULAR), None);
        assert_eq!(relayed(0), None);
    }

    #[test]
    fn every_level_has_a_word_and_none_gets_weaker() {
        for level in Service::ALL {
            assert!(service(word(level)) >= level, "{level}");
        }
        assert_eq!(service(FIFO), Service::Agreed);
        assert_eq!(service(UNRELIABLE), Service::Reliable);
    }
}
