//! The replicated map of the examples beside a real cluster: what ordered groups are for.

use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stentor_tests::binary::example;
use stentor_tests::cluster::{Cluster, Plan};
use stentor_tests::process::Process;
use stentor_tests::scenario::scenario;
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
