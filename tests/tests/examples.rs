//! The replicated map of the examples beside a real cluster: what ordered groups are for.

use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};
use stentor_tests::binary::example;
use stentor_tests::cluster::{Cluster, Plan};
use stentor_tests::process::Process;
use stentor_tests::scenario::{say, scenario};
use stentor_tests::wait::{PATIENCE, until};

/// A running `kv`.
struct Replica {
    process: Process,
    input: Option<ChildStdin>,
    output: std::path::PathBuf,
    /// How often it was asked for all that it holds.
    dumps: u32,
}

impl Replica {
    fn start(kv: &Path, cluster: &Cluster, daemon: &str, name: &str) -> Result<Self> {
        let output = cluster.dir().join(format!("{name}.out"));
        let mut command = Command::new(kv);
        command.args(["map", "--connect", &cluster.address(daemon).to_string()]);
        command.stdin(Stdio::piped()).stdout(std::fs::File::create(&output)?);
        let mut process = Process::start(&mut command, &cluster.dir().join(format!("{name}.err")))?;
        let input = process.child().stdin.take();
        Ok(Self { process, input, output, dumps: 0 })
    }

    fn say(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("its input is closed")?;
        Ok(input.write_all(format!("{line}\n").as_bytes())?)
    }

    /// Waits until it has shown a line.
    async fn shows(&self, line: &str) -> Result<()> {
        until(PATIENCE, &format!("{line:?} is shown"), async || {
            let shown = std::fs::read_to_string(&self.output)?;
            ensure!(shown.lines().any(|l| l.contains(line)), "{shown}\n{}", self.process.log());
            Ok(())
        })
        .await
    }

    /// What it holds, according to itself, once `key` has `value`.
    async fn dump(&mut self, key: &str, value: &str) -> Result<Vec<String>> {
        let entry = format!("{key} = {value}");
        until(PATIENCE, &format!("it holds {entry}"), async || {
            self.dumps += 1;
            // The answers to the questions around it show where the dump begins and ends.
            let [begin, end] = ["begin", "end"].map(|mark| format!("{mark}{}", self.dumps));
            self.say(&format!("get {begin}\ndump\nget {end}"))?;
            self.shows(&format!("{end} = (nothing)")).await?;
            let shown = std::fs::read_to_string(&self.output)?;
            let lines = shown.lines().skip_while(|line| !line.starts_with(&begin)).skip(1);
            let lines = lines.take_while(|line| !line.starts_with(&end));
            // Commands of others may be shown in between.
            let lines: Vec<_> = lines.filter(|line| line.contains(" = ")).map(str::to_owned).collect();
            ensure!(lines.contains(&entry), "{lines:?}");
            Ok(lines)
        })
        .await
    }

    /// Ends its input, and with it the program.
    async fn end(mut self) -> Result<()> {
        self.input = None;
        let status = self.process.wait(PATIENCE).await?;
        ensure!(status.success(), "it ended with {status}: {}", self.process.log());
        Ok(())
    }
}

#[test]
fn the_replicated_map_is_the_same_everywhere() -> Result<()> {
    // Built before the clock starts.
    let kv = example("kv")?;
    scenario(Duration::from_secs(180), async {
        let mut cluster = Plan::new(&["a", "b", "c"]).start().await?;
        let mut one = Replica::start(&kv, &cluster, "a", "one")?;
        one.shows("ready").await?;
        one.say("set colour blue\nset size 7")?;
        one.shows("set size 7").await?;
        // Who comes later gets what is there; then both write at once.
        let mut two = Replica::start(&kv, &cluster, "b", "two")?;
        two.shows("ready with 2 keys").await?;
        for round in 0..50 {
            one.say(&format!("set colour one{round}"))?;
            two.say(&format!("set colour two{round}"))?;
        }
        one.say("set one done")?;
        two.say("set two done")?;
        one.shows("set two done").await?;
        two.shows("set one done").await?;
        let (first, second) = (one.dump("two", "done").await?, two.dump("one", "done").await?);
        ensure!(first == second && first.len() == 4, "{first:?} and {second:?}");

        // A daemon crashes with its replica; the map goes on, and a newcomer gets it.
        cluster.kill("a")?;
        two.say("del size")?;
        two.shows("del size").await?;
        let mut three = Replica::start(&kv, &cluster, "c", "three")?;
        three.shows("ready with 3 keys").await?;
        let (second, third) = (two.dump("two", "done").await?, three.dump("two", "done").await?);
        ensure!(second == third && second.len() == 3, "{second:?} and {third:?}");
        two.end().await?;
        three.end().await?;
        cluster.finish().await
    })
}

/// Chooses a seed.
const SEED: &str = "STENTOR_KV_SEED";

#[test]
fn parted_maps_become_one_whoever_comes_and_goes() -> Result<()> {
    const STEPS: usize = 25;
    // Built before the clock starts.
    let kv = example("kv")?;
    let seed = match std::env::var(SEED) {
        Ok(seed) => seed.parse()?,
        Err(_) => 1,
    };
    say(&format!("seed {seed}"));
    scenario(Duration::from_secs(180), async {
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        let cluster = Plan::new(&["a", "b", "c"]).proxied_by(seed).start().await?;
        let mut replicas = vec![Replica::start(&kv, &cluster, "b", "r0")?];
        for step in 1..STEPS {
            match random.random_range(0..10) {
                0..3 => {
                    let daemon = ["a", "b", "c"][random.random_range(0..3)];
                    replicas.push(Replica::start(&kv, &cluster, daemon, &format!("r{step}"))?);
                }
                3 if replicas.len() > 1 => {
                    // Killed: a daemon that sees the end of a connection tells the others.
                    drop(replicas.swap_remove(random.random_range(0..replicas.len())));
                }
                4 if replicas.len() > 1 => {
                    replicas.swap_remove(random.random_range(0..replicas.len())).end().await?;
                }
                5 => cluster.network()?.split(&[&["a"], &["b", "c"]]),
                6 => cluster.network()?.split(&[&["a", "b"], &["c"]]),
                7..9 => cluster.network()?.heal(),
                _ => {}
            }
            for (number, replica) in replicas.iter_mut().enumerate() {
                replica.say(&format!("set key{} {step}.{number}", random.random_range(0..20)))?;
            }
            // Shorter and longer than views take to form.
            tokio::time::sleep(Duration::from_millis(random.random_range(0..1000))).await;
        }
        cluster.network()?.heal();
        // What the last one says in one view with all others is the end of the order.
        cluster.until_view(&["a", "b", "c"]).await?;
        let last = replicas.len() - 1;
        replicas[last].say("set the end")?;
        let mut dumps = Vec::new();
        for replica in &mut replicas {
            dumps.push(replica.dump("the", "end").await?);
        }
        for dump in &dumps {
            ensure!(*dump == dumps[0], "the maps differ: {dumps:#?}");
        }
        for replica in replicas {
            replica.end().await?;
        }
        cluster.finish().await
    })
}
