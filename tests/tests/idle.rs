//! A cluster with nothing to do costs next to nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use stentor_tests::cluster::Plan;
use stentor_tests::scenario::{say, scenario};

/// How long the daemons are watched.
const WATCHED: Duration = Duration::from_secs(10);

/// The most memory of an idle daemon.
const MEMORY: u64 = 30 << 20;

/// The largest part of a core. Without optimisation, heartbeats cost more than what users run.
const PART_OF_A_CORE: f64 = if cfg!(debug_assertions) { 0.03 } else { 0.01 };

#[test]
fn an_idle_cluster_costs_little_time_and_memory() -> Result<()> {
    scenario(Duration::from_secs(90), async {
        let mut cluster = Plan::new(&["a", "b", "c"]).start().await?;
        let mut before = Vec::new();
        for name in ["a", "b", "c"] {
            before.push((name, cluster.daemon(name)?.cpu()?));
        }
        // Not a wait for something: the time is what is measured over.
        tokio::time::sleep(WATCHED).await;
        for (name, before) in before {
            let daemon = cluster.daemon(name)?;
            let part = (daemon.cpu()? - before).as_secs_f64() / WATCHED.as_secs_f64();
            let memory = daemon.resident()?;
            say(&format!("{name}: {:.2} % of a core, {:.1} MB", part * 100.0, memory as f64 / 1e6));
            ensure!(memory < MEMORY, "{name} holds {memory} bytes");
            ensure!(part < PART_OF_A_CORE, "{name} takes {part} of a core");
        }
        cluster.finish().await
    })
}
