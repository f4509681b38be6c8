//! A crowd of clients that comes to a daemon at once and goes again; some of them without a word.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use rand::rngs::ChaCha12Rng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use stentor_client::Address;
use stentor_membership::Service;
use tokio::task::JoinSet;

use super::tapes::Tapes;
use super::worker::GROUPS;
use crate::recorder::Recorder;

/// How long a storm lasts at most.
const LENGTH: Duration = Duration::from_secs(3);

/// The groups that only these clients join: more of them, so that no group has all of the crowd.
const OWN_GROUPS: usize = 20;

/// Lets a storm loose, on a thread of its own. At its end all clients that have not closed are cut off.
///
/// # Errors
/// If there is no thread for it.
pub(crate) fn storm(
    number: u64,
    address: Address,
    clients: usize,
    seed: u64,
    tapes: Tapes,
) -> Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("storm".to_owned());
    Ok(thread.spawn(move || {
        let crowd: Arc<Mutex<Vec<Recorder>>> = Arc::default();
        runtime.block_on(async {
            let mut all = JoinSet::new();
            for client in 0..clients {
                let random =
                    ChaCha12Rng::seed_from_u64(seed.wrapping_add(u64::try_from(client).unwrap_or(0)));
                let visitor = Visitor { random, address: address.clone(), tapes: tapes.clone() };
                all.spawn(visitor.visit(format!("s{number}-{client}"), crowd.clone()));
            }
            // Who is not done by then is cut off.
            let _ = tokio::time::timeout(LENGTH, all.join_all()).await;
        });
        // The sockets close with their tasks: no client can say goodbye.
        drop(runtime);
        crowd.lock().unwrap_or_else(PoisonError::into_inner).clear();
    })?)
}

struct Visitor {
    random: ChaCha12Rng,
    address: Address,
    tapes: Tapes,
}

impl Visitor {
    async fn visit(mut self, name: String, crowd: Arc<Mutex<Vec<Recorder>>>) {
        let Ok(session) = Recorder::open(&self.address, &name).await else {
            // The daemon is down: no storm reaches it.
            return;
        };
        self.tapes.add(session.tape().clone());
        let orderly = self.random.random_bool(0.5);
        if !orderly {
            // Keeps it open until the storm is over.
            crowd.lock().unwrap_or_else(PoisonError::into_inner).push(session.clone());
        }
        // An error means that the daemon is gone.
        let _ = self.act(&session).await;
        if orderly {
            let _ = session.close().await;
        }
    }

    async fn act(&mut self, session: &Recorder) -> Result<()> {
        let own: Vec<String> = (0..OWN_GROUPS).map(|number| format!("storm{number}")).collect();
        let mut groups: Vec<&str> = Vec::new();
        if self.random.random_bool(0.6) {
            groups.extend(own.choose(&mut self.random).map(String::as_str));
        }
        if self.random.random_bool(0.15) {
            groups.extend(GROUPS.choose(&mut self.random));
        }
        for group in &groups {
            let joined = session.sender().join(group)?;
            if self.random.random_bool(0.5) {
                joined.await?;
            }
        }
        groups.extend(GROUPS.choose(&mut self.random));
        for _ in 0..self.random.random_range(0..8) {
            let service = Service::ALL.choose(&mut self.random).copied().unwrap_or_default();
            let size = self.random.random_range(0..500);
            session.send(groups.get(..2).unwrap_or(&groups), service, size).await?;
        }
        let stay = Duration::from_millis(self.random.random_range(0..1000));
        tokio::time::sleep(stay).await;
        Ok(())
    }
}
