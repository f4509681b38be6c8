//! Numbers that say why, with room for those of other versions.

use serde::{Deserialize, Serialize};

macro_rules! code {
    ($(#[$doc:meta])* $Name:ident { $($(#[$variant_doc:meta])* $Variant:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(from = "u16", into = "u16")]
        #[non_exhaustive]
        pub enum $Name {
            $($(#[$variant_doc])* $Variant,)*
            /// A number that this version does not know; the text beside it says what it means.
            Other(u16),
        }

        impl From<u16> for $Name {
            fn from(number: u16) -> Self {
                match number {
                    $($number => Self::$Variant,)*
                    other => Self::Other(other),
                }
            }
        }

        impl From<$Name> for u16 {
            fn from(code: $Name) -> Self {
                match code {
                    $($Name::$Variant => $number,)*
                    $Name::Other(number) => number,
                }
            }
        }
    };
}

code! {
    /// Why a daemon ended a connection.
    GoodbyeCode {
        /// The client said goodbye; all that it had sent before was processed.
        Closed = 0,
        /// The daemon is shutting down.
        ShuttingDown = 1,
        /// The client did not read what it was sent until its queue was full.
        TooSlow = 2,
        /// The client broke the session protocol.
        Protocol = 3,
        /// The client speaks another version of the session protocol.
        Version = 4,
        /// Another live session has the name.
        NameTaken = 5,
        /// The name breaks the rule for names.
        NameInvalid = 6,
        /// The daemon serves as many sessions as it may.
        TooManySessions = 7,
        /// A frame was larger than allowed.
        TooLarge = 8,
        /// The client took too long to introduce itself.
        TimedOut = 9,
    }
}

code! {
    /// Why a daemon refused a request or a multicast. The session goes on.
    RefusalCode {
        /// The session is not a member of the group.
        NotMember = 0,
        /// The session is a member of the group already, or on its way in.
        AlreadyMember = 1,
        /// The daemon's part of the cluster holds no majority, and its configuration wants one.
        NotPrimary = 2,
        /// The message is larger than the daemon's `max_message`.
        TooLarge = 3,
        /// The destinations, the tag or a name are malformed.
        Invalid = 4,
        /// The daemon is shutting down.
        ShuttingDown = 5,
        /// The session is in as many groups as the daemon's `max_groups` allows.
        TooManyGroups = 6,
    }
}
