//! More than the cluster can take: senders wait, programs that do not read are cut off, memory stays bounded.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stentor_client::{Connection, Sender, Service, TrySendError};
use stentor_tests::cluster::Plan;
use stentor_tests::members::three_members;
use stentor_tests::scenario::{say, scenario};
use stentor_tests::wait::{PATIENCE, until};

const SIZE: usize = 8 << 10;

/// Messages of each of the three senders: 120 MB in all.
const MESSAGES: usize = 5_000;

/// What a daemon may hold with the settings below: three windows of 1 MiB, kept and queued for two peers, 32 MiB for the
/// program that does not read, buffers of sockets and connections, itself.
const MEMORY: u64 = 96 << 20;

/// Sends all, without waiting as long as it is told that there is room; gives how often there was none.
async fn flood(sender: Sender) -> Result<usize> {
    let payload = vec![b'x'; SIZE];
    let mut waits = 0;
    for _ in 0..MESSAGES {
        match sender.try_multicast(&["flood"], Service::Agreed, &payload) {
            Ok(_) => {}
            Err(TrySendError::Full) => {
                waits += 1;
                sender.multicast(&["flood"], Service::Agreed, &payload).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(waits)
}

#[test]
fn senders_wait_the_deaf_are_cut_off_and_memory_stays_bounded() -> Result<()> {
    scenario(Duration::from_secs(180), async {
        let plan = Plan::new(&["a", "b", "c"]).set("membership", "window", "1MiB");
        let mut cluster = plan.set("clients", "session_queue_out", "32MiB").start().await?;
        let (deaf_sender, mut deaf) = Connection::connect(&cluster.address("a")).await?.split();
        deaf_sender.join("flood")?.await?;

        let mut floods = Vec::new();
        for name in ["a", "b", "c"] {
            let sender = Connection::connect(&cluster.address(name)).await?.sender;
            floods.push(tokio::spawn(flood(sender)));
        }
        let mut waits = 0;
        for flood in floods {
            waits += flood.await??;
        }
        ensure!(waits > 0, "120 MB went in without a wait");

        // Others are served all the while, and what was taken goes out.
        three_members(&cluster).await?;
        for name in ["a", "b", "c"] {
            until(PATIENCE, "all is sent", async || {
                let waiting = cluster.counter(name, "queued_bytes").await?;
                ensure!(waiting == 0, "{waiting} bytes wait at {name}");
                Ok(())
            })
            .await?;
        }

        for name in ["a", "b", "c"] {
            let peak = cluster.daemon(name)?.peak()?;
            say(&format!("{name}: at most {:.1} MB, {waits} waits", peak as f64 / 1e6));
            ensure!(peak < MEMORY, "{name} held {peak} bytes");
        }

        // What was queued when it was cut is gone; what its socket held still comes, then the reason.
        let end = tokio::time::timeout(PATIENCE, async {
            loop {
                match deaf.recv().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return String::new(),
                    Err(error) => return error.to_string(),
                }
            }
        });
        let end = end.await.context("the deaf program was never cut off")?;
        ensure!(end.contains("32MiB"), "the reason does not name the bound: {end:?}");
        ensure!(cluster.counter("a", "sessions_cut_slow").await? == 1, "the cut was not counted");
        cluster.finish().await
    })
}
