//! `stentor demo`: a whole cluster for a few seconds, a crash in the middle of it, and what everybody saw.

mod check;
mod table;
mod witness;

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use stentor_client::Service;

use self::witness::{Life, Seen, Witness};
use super::cluster::Cluster;
use super::output::{Style, print};
use super::session::stop;

#[derive(Args, Debug)]
#[command(
    after_help = "It starts three daemons with keys of their own in a temporary directory, and removes all of \
    it again. Exit code 0 means that everybody saw the same order."
)]
pub(crate) struct DemoArgs {
    /// How many messages each program sends in each of the calm phases.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    messages: u32,
}

/// Longer than any of it takes on a machine that is not overloaded beyond use.
const PATIENCE: Duration = Duration::from_secs(60);

/// The group of the demo.
const GROUP: &str = "demo";

/// Each daemon, and the program beside it.
const PLACES: [(&str, &str); 3] = [("a", "ann"), ("b", "bob"), ("c", "cas")];

pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<()> {
    let demo = Demo { style: Style::of_stdout(), start: Instant::now() };
    tokio::select! {
        end = tokio::time::timeout(PATIENCE, demo.play(args.messages)) => end.unwrap_or_else(|_| {
            anyhow::bail!("the demo was not over after {PATIENCE:?}: is the machine overloaded?")
        }),
        stopped = stop() => stopped.and_then(|()| anyhow::bail!("stopped by a signal")),
    }
}

struct Demo {
    style: Style,
    start: Instant,
}

impl Demo {
    async fn play(&self, messages: u32) -> anyhow::Result<()> {
        let mut cluster = Cluster::make(GROUP, &PLACES.map(|(daemon, _)| daemon))?;
        self.tell(&format!("made keys and configurations in {}", cluster.directory().display()))?;
        for daemon in 0..PLACES.len() {
            cluster.start(daemon)?;
        }
        let mut witnesses = Vec::new();
        for (daemon, (_, name)) in PLACES.into_iter().enumerate() {
            witnesses.push(Witness::new(name, cluster.connect(daemon, name).await?));
        }
        cluster.wait_until_whole(witnesses[0].sender()).await?;
        self.tell("three daemons run and agree on a view: ann is at a, bob at b, cas at c")?;

        for witness in &witnesses {
            witness.join().await?;
        }
        for witness in &witnesses {
            witness.until("a view with all three", |seen| members_now(seen) == PLACES.len()).await?;
        }
        self.tell(&format!("all three joined the group {GROUP:?}"))?;

        multicast_at_once(&witnesses, messages).await?;
        let each = witnesses[0].life().messages().count();
        self.tell(&format!("each multicast {messages} messages at once, and each received all {each}"))?;

        let killed = self.crash(&mut cluster, &mut witnesses).await?;

        cluster.start(2)?;
        let cas = Witness::new("cas", cluster.connect(2, "cas").await?).after(&killed);
        cluster.wait_until_whole(witnesses[0].sender()).await?;
        cas.join().await?;
        witnesses.push(cas);
        for witness in &witnesses {
            witness.until("a view with all three again", |seen| members_now(seen) == PLACES.len()).await?;
        }
        self.tell("daemon c is back as a new one; a new cas joined")?;
        multicast_at_once(&witnesses, messages).await?;
        self.tell(&format!("each multicast {messages} more messages, and each received all"))?;

        let mut lives: Vec<Life> = witnesses.iter().map(Witness::life).collect();
        lives.insert(2, killed);
        for witness in witnesses {
            witness.close().await?;
        }
        cluster.stop().await?;
        self.tell("all closed in order")?;
        self.show(&lives)
    }

    /// Kills daemon c while everybody multicasts; gives what its program saw.
    async fn crash(&self, cluster: &mut Cluster, witnesses: &mut Vec<Witness>) -> anyhow::Result<Life> {
        let cas = witnesses.pop().context("there is no third program")?;
        let mut streams: Vec<_> = witnesses.iter().map(|witness| witness.stream()).collect();
        let last = cas.stream();
        let before = cas.life().messages().count();
        cas.until("traffic", |seen| messages_in(seen) > before + 60).await?;
        let killed_at = Instant::now();
        cluster.kill(2)?;
        self.tell("everybody multicasts; daemon c was killed (SIGKILL)")?;
        cas.until_over().await?;
        last.stop().await;
        for witness in witnesses.iter() {
            witness.until("a view without cas", |seen| members_now(seen) == PLACES.len() - 1).await?;
        }
        let (calm, marks) = (witnesses.iter(), witnesses.iter().map(|w| w.life().messages().count()));
        for (witness, mark) in calm.zip(marks.collect::<Vec<_>>()) {
            witness.until("traffic behind the crash", |seen| messages_in(seen) > mark + 40).await?;
        }
        for stream in streams.drain(..) {
            stream.stop().await;
        }
        everybody_has_all(witnesses).await?;
        let pause = witnesses[0].life().longest_pause(killed_at);
        self.tell(&format!(
            "ann and bob agreed on a view without c, and went on after {} ms",
            pause.as_millis()
        ))?;
        let life = cas.life();
        drop(cas);
        Ok(life)
    }

    fn show(&self, lives: &[Life]) -> anyhow::Result<()> {
        let columns = [vec![&lives[0]], vec![&lives[1]], vec![&lives[2], &lives[3]]];
        print(&format!("\nWhat each of them saw:\n\n{}\n", table::render(&columns, self.style)))?;
        let report = check::check(lives)?;
        let verdict = self.style.green(format!(
            "All orders are equal: {} comparisons of {} messages and {} views, no difference.",
            report.comparisons, report.messages, report.views
        ));
        print(&format!(
            "{verdict}\n\nNow keep a cluster: `stentor init --help`, or one daemon: `stentor daemon`.\n"
        ))
    }

    /// Shows progress.
    fn tell(&self, what: &str) -> anyhow::Result<()> {
        let time = format!("{:5.2} s", self.start.elapsed().as_secs_f64());
        print(&format!("{}  {what}\n", self.style.dim(time)))
    }
}

/// All multicast at the same time; over when all have received all.
async fn multicast_at_once(witnesses: &[Witness], messages: u32) -> anyhow::Result<()> {
    let streams: Vec<_> = witnesses.iter().map(|witness| witness.burst(messages)).collect();
    for stream in streams {
        stream.finish().await?;
    }
    everybody_has_all(witnesses).await
}

/// Waits until each has received what all of them have sent.
async fn everybody_has_all(witnesses: &[Witness]) -> anyhow::Result<()> {
    for witness in witnesses {
        for other in witnesses {
            let (name, last) = (other.name(), other.sent());
            witness.until("the last message", |seen| has_message(seen, name, last)).await?;
        }
    }
    Ok(())
}

/// Every tenth message is a safe one, the others are agreed.
fn service(number: u32) -> Service {
    if number.is_multiple_of(10) { Service::Safe } else { Service::Agreed }
}

/// The number of members in the last view.
fn members_now(seen: &[Seen]) -> usize {
    let views = seen.iter().rev().filter_map(|seen| match seen {
        Seen::View { members, .. } => Some(members.len()),
        Seen::Message { .. } | Seen::Transitional | Seen::Over(_) => None,
    });
    views.take(1).sum()
}

fn messages_in(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| matches!(seen, Seen::Message { .. })).count()
}

/// Messages of a sender come in order: having its last one means having all.
fn has_message(seen: &[Seen], from: &str, last: u32) -> bool {
    last == 0
        || seen.iter().rev().any(
            |seen| matches!(seen, Seen::Message { sender, number, .. } if sender == from && *number == last),
        )
}
