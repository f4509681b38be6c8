//! A session of a load, before it takes part.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::Context;
use stentor_client::{Address, Connection, GroupChange, Receiver};
use tokio::sync::mpsc;

use super::load::Pace;
use super::shared::Shared;

/// Where a session of the load belongs. It opens on the thread that serves it, as that of a program of its own.
#[derive(Debug)]
pub(super) struct Seat {
    shared: Arc<Shared>,
    number: usize,
    address: Address,
    ready: mpsc::Sender<()>,
}

/// A session waits for so many joins at a time.
const JOINS: usize = 256;

impl Seat {
    pub(super) fn new(shared: Arc<Shared>, number: usize, address: Address, ready: mpsc::Sender<()>) -> Self {
        Self { shared, number, address, ready }
    }

    /// The groups of the load.
    pub(super) fn groups(&self) -> Vec<String> {
        self.shared.groups()
    }

    /// Those of them that a sender has to be in: all, if it waits for its own messages.
    pub(super) fn groups_of_sender(&self) -> Vec<String> {
        let waits = matches!(self.shared.load.pace, Pace::InFlight(_));
        if waits { self.shared.groups() } else { Vec::new() }
    }

    /// The group that only this bystander is in.
    pub(super) fn group_apart(&self) -> String {
        self.shared.group(&format!("apart-{}", self.number))
    }

    /// Opens the session, joins some groups, and waits for the others.
    pub(super) async fn open(self, groups: Vec<String>) -> anyhow::Result<(Arc<Shared>, usize, Connection)> {
        let Self { shared, number, address, ready } = self;
        let mut connection = Connection::connect(&address).await?;
        let mut joins = VecDeque::new();
        for group in groups {
            joins.push_back(connection.sender.join(&group)?);
            if joins.len() == JOINS
                && let Some(oldest) = joins.pop_front()
            {
                joined(oldest, &mut connection.receiver).await?;
            }
        }
        for join in joins {
            joined(join, &mut connection.receiver).await?;
        }
        // The round goes on when all have said so, or are gone.
        let _ = ready.send(()).await;
        drop(ready);
        shared.begun.cancelled().await;
        Ok((shared, number, connection))
    }
}

/// Waits until a join is effective. Views come meanwhile, and are to be read: answers come behind them.
async fn joined(mut join: GroupChange, receiver: &mut Receiver) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            biased;
            done = &mut join => return done.map(|_view| ()).context("cannot join a group"),
            event = receiver.recv() => {
                event?.context("the daemon closed a session that joins its groups")?;
            }
        }
    }
}
