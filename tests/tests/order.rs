//! The main job on real input: files piped into the cluster come out everywhere, complete and in one order.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};
use stentor_tests::cluster::{Cluster, Plan};
use stentor_tests::command::{Joined, command, text};
use stentor_tests::process::Process;
use stentor_tests::scenario::{say, scenario};

const LINES: usize = 200_000;

/// On a machine of this kind it takes seconds; a starved one gets its time.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn a_file_arrives_complete_and_in_order() -> Result<()> {
    scenario(LIMIT * 2, async {
        let cluster = calm_plan().start().await?;
        let file = make_file(cluster.dir(), "words", LINES, 1)?;
        let mut receivers = receivers(&cluster, LINES).await?;
        let begin = Instant::now();
        let mut sender = sender(&cluster, "a", "sender", &file)?;
        let status = sender.wait(LIMIT).await?;
        ensure!(status.success(), "send ended with {status}: {}", sender.log());
        for receiver in &mut receivers {
            receiver.ended(LIMIT).await?;
        }
        say(&format!("{LINES} lines to 3 receivers in {:?}", begin.elapsed()));
        let sent = fs::read_to_string(&file)?;
        for receiver in &receivers {
            let got = messages(receiver.path())?;
            for (number, (got, sent)) in got.iter().zip(sent.lines()).enumerate() {
                let event: serde_json::Value = serde_json::from_str(got)?;
                ensure!(text(&event, "data") == sent, "line {number} is {got}, not {sent:?}");
                ensure!(text(&event, "sender") == "#sender#a", "line {number} is {got}");
            }
            ensure!(got.len() == LINES, "{} lines of {LINES}", got.len());
        }
        cluster.finish().await
    })
}

#[test]
fn three_files_at_once_arrive_in_one_order() -> Result<()> {
    scenario(LIMIT * 2, async {
        let cluster = calm_plan().start().await?;
        let mut files = Vec::new();
        for (seed, daemon) in (10..).zip(["a", "b", "c"]) {
            files.push((daemon, make_file(cluster.dir(), &format!("words-{daemon}"), LINES, seed)?));
        }
        let mut receivers = receivers(&cluster, LINES * 3).await?;
        let begin = Instant::now();
        let senders = files.iter().map(|(daemon, file)| sender(&cluster, daemon, "sender", file));
        let senders = senders.collect::<Result<Vec<_>>>()?;
        for mut sender in senders {
            let status = sender.wait(LIMIT).await?;
            ensure!(status.success(), "send ended with {status}: {}", sender.log());
        }
        for receiver in &mut receivers {
            receiver.ended(LIMIT).await?;
        }
        say(&format!("3 x {LINES} lines to 3 receivers in {:?}", begin.elapsed()));

        let first = messages(receivers[0].path())?;
        ensure!(first.len() == LINES * 3, "{} lines of {}", first.len(), LINES * 3);
        for other in &receivers[1..] {
            let other = messages(other.path())?;
            let place = first.iter().zip(&other).position(|(one, two)| one != two);
            ensure!(place.is_none() && first.len() == other.len(), "they differ at {place:?}");
        }
        for (daemon, file) in &files {
            let sender = format!("\"sender\":\"#sender#{daemon}\"");
            let sent = fs::read_to_string(file)?;
            let mut sent = sent.lines();
            for line in first.iter().filter(|line| line.contains(&sender)) {
                let event: serde_json::Value = serde_json::from_str(line)?;
                let sent = sent.next();
                ensure!(sent == Some(text(&event, "data")), "{line} instead of {sent:?}");
            }
            ensure!(sent.next().is_none(), "the end of the file on {daemon} is missing");
        }
        cluster.finish().await
    })
}

/// Daemons that a starved machine does not part: what goes missing then is not what this is about.
fn calm_plan() -> Plan {
    let plan = Plan::new(&["a", "b", "c"]).set("membership", "suspect_after_min", "1min");
    plan.set("membership", "suspect_after_max", "1min")
}

/// A file of lines of all lengths, some empty, with all kinds of characters, each different from all before it.
fn make_file(dir: &Path, name: &str, lines: usize, seed: u64) -> Result<PathBuf> {
    const WORDS: [&str; 8] = ["view", "group", "\"quoted\"", "naïve", "\\", "\t", "日本", "e\u{301}"];
    let mut random = ChaCha12Rng::seed_from_u64(seed);
    let path = dir.join(name);
    let mut file = std::io::BufWriter::new(File::create(&path)?);
    for number in 0..lines {
        if number % 1000 == 999 {
            writeln!(file)?;
            continue;
        }
        write!(file, "{number}")?;
        for _ in 0..random.random_range(0..8) {
            write!(file, " {}", WORDS[random.random_range(0..WORDS.len())])?;
        }
        writeln!(file)?;
    }
    file.flush()?;
    Ok(path)
}

/// A receiver on each daemon, which ends after so many messages.
async fn receivers(cluster: &Cluster, messages: usize) -> Result<Vec<Joined>> {
    let mut receivers = Vec::new();
    for daemon in ["a", "b", "c"] {
        let (address, name) = (cluster.address(daemon), format!("receiver-{daemon}"));
        let count = ["--count", &messages.to_string()];
        receivers.push(Joined::start(cluster.dir(), &address, &name, &["words"], &count).await?);
    }
    Ok(receivers)
}

fn sender(cluster: &Cluster, daemon: &str, name: &str, file: &Path) -> Result<Process> {
    let mut command = command(Some(&cluster.address(daemon)), &["send", "words", "--lines", "--name", name])?;
    command.stdin(File::open(file)?).stdout(Stdio::null());
    Process::start(&mut command, &cluster.dir().join(format!("{name}-{daemon}.err")))
}

/// The lines about messages.
fn messages(path: &Path) -> Result<Vec<String>> {
    let lines = BufReader::new(File::open(path)?).lines();
    let messages = lines.filter(|line| line.as_ref().is_ok_and(|l| l.starts_with("{\"event\":\"message\"")));
    messages.collect::<Result<_, _>>().with_context(|| format!("cannot read {}", path.display()))
}
