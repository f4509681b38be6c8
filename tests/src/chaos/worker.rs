//! The clients of a chaos run: each does one thing after another, and comes back when its daemon does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::ChaCha12Rng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use stentor_client::Address;
use stentor_membership::Service;
use tokio::sync::watch;

use super::tapes::Tapes;
use crate::recorder::Recorder;

/// The group that all of them are in, all the time.
pub(crate) const EVERYBODY: &str = "everybody";

/// The groups that they come to and leave.
pub(crate) const GROUPS: [&str; 6] = ["g0", "g1", "g2", "g3", "g4", "g5"];

/// Between two tries to reach a daemon that is down.
const RETRY: Duration = Duration::from_millis(50);

/// What the clients are to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mode {
    /// All that clients do.
    Busy,
    /// Only to be there.
    Quiet,
    /// To end.
    End,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Worker {
    name: String,
    address: Address,
    random: ChaCha12Rng,
    /// All workers by their names as destinations.
    everybody: Arc<[String]>,
    /// Between two things that it does, at most.
    pace: Duration,
    mode: watch::Receiver<Mode>,
    tapes: Tapes,
    place: Place,
}

/// Where the present session of a worker is found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place(Arc<Mutex<Stand>>);

#[derive(Debug, Default)]
struct Stand {
    session: Option<Recorder>,
    /// It is a member of the group of all, and does nothing any more.
    quiet: bool,
}

impl Place {
    /// The session, if there is one.
    pub(crate) fn session(&self) -> Option<Recorder> {
        self.look(|stand| stand.session.clone())
    }

    /// The session, if it lives and the worker has come to rest.
    pub(crate) fn quiet(&self) -> Option<Recorder> {
        let session = self.look(|stand| stand.session.clone().filter(|_| stand.quiet));
        session.filter(|session| session.tape().ended().is_none())
    }

    fn look<T>(&self, look: impl FnOnce(&mut Stand) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a worker needs to know.
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) address: Address,
    pub(crate) seed: u64,
    pub(crate) everybody: Arc<[String]>,
    pub(crate) pace: Duration,
    pub(crate) mode: watch::Receiver<Mode>,
    pub(crate) tapes: Tapes,
}

impl Worker {
    pub(crate) fn new(role: Role) -> Self {
        let Role { name, address, seed, everybody, pace, mode, tapes } = role;
        let random = ChaCha12Rng::seed_from_u64(seed);
        Self { name, address, random, everybody, pace, mode, tapes, place: Place::default() }
    }

    pub(crate) fn place(&self) -> Place {
        self.place.clone()
    }

    /// Lives until it is told to end.
    pub(crate) async fn run(mut self) {
        while self.mode() != Mode::End {
            // The daemon may be down, or still know the session before.
            let Ok(session) = Recorder::open(&self.address, &self.name).await else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            self.tapes.add(session.tape().clone());
            self.place.look(|stand| stand.session = Some(session.clone()));
            // An error means that the connection has ended; the record says why.
            let again = self.live(&session).await.is_ok();
            self.place.look(|stand| *stand = Stand::default());
            if again || self.mode() == Mode::End {
                // In order, or not at all: the record says that too.
                let _ = session.close().await;
            }
        }
    }

    /// Works with one session until it is told to end, or wants another.
    async fn live(&mut self, session: &Recorder) -> anyhow::Result<()> {
        session.sender().join(EVERYBODY)?.await?;
        let mut member_of = Vec::new();
        loop {
            match self.mode() {
                Mode::End => return Ok(()),
                Mode::Quiet => {
                    self.place.look(|stand| stand.quiet = true);
                    let mut mode = self.mode.clone();
                    // Fails when nobody can tell it anything any more.
                    let ended = mode.wait_for(|mode| *mode == Mode::End);
                    tokio::select! {
                        _ = ended => {}
                        () = over(session) => {}
                    }
                    return Ok(());
                }
                Mode::Busy => {}
            }
            match self.random.random_range(0..1000) {
                0..30 => {
                    let absent = GROUPS.iter().filter(|group| !member_of.contains(*group));
                    let Some(&group) = absent.collect::<Vec<_>>().choose(&mut self.random).copied() else {
                        continue;
                    };
                    member_of.push(group);
                    let joined = session.sender().join(group)?;
                    if self.random.random_bool(0.7) {
                        joined.await?;
                    }
                }
                30..45 if !member_of.is_empty() => {
                    let group = member_of.swap_remove(self.random.random_range(0..member_of.len()));
                    session.leaving(group).await?.await?;
                }
                45..48 => return Ok(()),
                _ => self.send(session).await?,
            }
            let pause = self.random.random_range(0..2 * u64::try_from(self.pace.as_micros())? + 1);
            tokio::time::sleep(Duration::from_micros(pause)).await;
        }
    }

    async fn send(&mut self, session: &Recorder) -> anyhow::Result<()> {
        let random = &mut self.random;
        let mut to: Vec<&str> = Vec::new();
        match random.random_range(0..10) {
            0 => to.extend(self.everybody.choose(random).map(String::as_str)),
            1 => {
                to.extend(GROUPS.sample(random, 3));
                to.extend(self.everybody.choose(random).map(String::as_str));
            }
            2..4 => to.extend(GROUPS.sample(random, 2)),
            4 => to.push(EVERYBODY),
            _ => to.extend(GROUPS.choose(random)),
        }
        let service = match random.random_range(0..12) {
            0 => Service::Unreliable,
            1 => Service::Reliable,
            2..4 => Service::Fifo,
            4..6 => Service::Causal,
            6..9 => Service::Agreed,
            _ => Service::Safe,
        };
        // Small ones, some that fill a datagram or a frame, and a few that need many frames.
        let size = match random.random_range(0..1000) {
            0..800 => random.random_range(0..300),
            800..950 => random.random_range(300..3000),
            950..990 => random.random_range(3000..40_000),
            990..998 => random.random_range(40_000..200_000),
            _ => random.random_range(200_000..1_500_000),
        };
        if random.random_bool(0.1) {
            session.send_to_others(&to, service, size).await?;
        } else {
            session.send(&to, service, size).await?;
        }
        Ok(())
    }

    fn mode(&self) -> Mode {
        *self.mode.borrow()
    }
}

/// Waits until the session has ended.
async fn over(session: &Recorder) {
    while session.tape().ended().is_none() {
        tokio::time::sleep(RETRY).await;
    }
}
