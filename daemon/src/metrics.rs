//! What the daemon counts beside the core's own counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Debug, Default)]
        struct Counters {
            $($name: AtomicU64,)*
        }

        /// Something that is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(non_camel_case_types, reason = "the names are those of the report")]
        pub(crate) enum Count {
            $($(#[$doc])* $name,)*
        }

        impl Metrics {
            fn counter(&self, count: Count) -> &AtomicU64 {
                match count {
                    $(Count::$name => &self.0.$name,)*
                }
            }

            /// All counters with their names.
            pub(crate) fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.get(Count::$name)),)*]
            }
        }
    };
}

counters! {
    /// Links that came up.
    links_up,
    /// Links that ended.
    links_down,
    /// Links closed because too much waited for the peer.
    links_cut_full,
    /// Connections of peers refused because too many handshakes were under way.
    links_refused_full,
    /// Sessions that were opened.
    sessions_opened,
    /// Sessions cut off because they read too slowly.
    sessions_cut_slow,
    /// Connections that never became a session: not the session protocol.
    handshakes_garbage,
    /// Connections that never became a session: another version.
    handshakes_version,
    /// Connections that never became a session: too slow, or closed early.
    handshakes_unfinished,
    /// Connections that never became a session: a taken or illegal name, or too many sessions.
    handshakes_refused,
    /// Sessions ended for breaking the session protocol.
    session_violations,
    /// Messages that programs of Spread did not get because they are larger than their protocol takes.
    spread_too_large,
    /// Multicasts that were refused.
    multicasts_rejected,
    /// Joins, leaves and other requests that were refused.
    requests_failed,
}

/// Counters since the start, shared by all parts of the daemon.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(Arc<Counters>);

impl Metrics {
    /// One more.
    pub(crate) fn count(&self, count: Count) {
        self.counter(count).fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub(crate) fn get(&self, count: Count) -> u64 {
        self.counter(count).load(Ordering::Relaxed)
    }
}
