//! A client library of strangers, the package `spread` of npm for Node.js, unchanged.
//!
//! Needs Node.js and the package, so it runs only when asked for:
//!
//! ```text
//! npm install --prefix target/npm spread@0.0.1
//! NODE_PATH=$PWD/target/npm/node_modules cargo test --workspace --test spread_npm -- --ignored
//! ```

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use stentor_tests::scenario::scenario;
use stentor_tests::spread::doors::{Doors, Place};
use stentor_tests::spread::frame::kind;
use stentor_tests::wait::PATIENCE;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const LIMIT: Duration = Duration::from_secs(90);

const ROOM: &str = "room";

/// The package shows the last of several messages that arrive together only when more arrives, so each is followed by
/// one of no meaning.
const FILLER: &str = ".";

/// The program beside this file, which speaks through the package.
struct Program {
    /// Ends with the test.
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts it and waits until it has asked for the group.
    async fn start(place: &Place, name: &str) -> Result<Self> {
        let Place::Tcp(address) = place else { bail!("the package knows TCP alone") };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/spread_npm/program.js");
        let mut child = Command::new("node")
            .args([script, &address.port().to_string(), name, ROOM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start node")?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?).lines();
        let mut program = Self { child, input, output };
        program.expect("in", name).await?;
        Ok(program)
    }

    async fn send(&mut self, line: &str) -> Result<()> {
        Ok(self.input.write_all(format!("{line}\n{FILLER}\n").as_bytes()).await?)
    }

    /// Checks what it says next.
    async fn expect(&mut self, word: &str, value: &str) -> Result<()> {
        loop {
            let line = tokio::time::timeout(PATIENCE, self.output.next_line()).await;
            let line = line.with_context(|| format!("waited for {word} {value}"))??;
            let line = line.context("it ended: is the package in NODE_PATH?")?;
            let said: (String, String) = serde_json::from_str(&line)?;
            if said.1 != FILLER {
                ensure!(said == (word.to_owned(), value.to_owned()), "{said:?} instead of {word} {value}");
                return Ok(());
            }
        }
    }
}

#[test]
#[ignore = "needs Node.js and a package of npm: see the head of this file"]
fn a_library_from_npm_works_unchanged() -> Result<()> {
    scenario(LIMIT, async {
        let doors = Doors::start(&["d1", "d2"]).await?;
        let mut witness = doors.client("d2", "witness").await?;
        witness.join(ROOM).await?;
        let mut alice = Program::start(&doors.tcp("d1")?, "alice").await?;
        witness.view(kind::BY_JOIN, ROOM).await?;
        let mut bob = Program::start(&doors.tcp("d2")?, "bob").await?;
        let (members, _) = witness.view(kind::BY_JOIN, ROOM).await?;
        ensure!(members == ["#alice#d1", "#bob#d2", "#witness#d2"], "{members:?}");

        for text in ["one", "zwei \u{fc}", &"three ".repeat(2_000)] {
            for alice_sends in [true, false] {
                let (sender, name) =
                    if alice_sends { (&mut alice, "#alice#d1") } else { (&mut bob, "#bob#d2") };
                sender.send(text).await?;
                alice.expect(ROOM, text).await?;
                bob.expect(ROOM, text).await?;
                for body in [text, FILLER] {
                    let message = witness.next().await?;
                    ensure!(message.name == name && message.body == body.as_bytes(), "{message:?}");
                }
            }
        }
        let last = "from another";
        for body in [last, FILLER] {
            witness.multicast(kind::SAFE, &[ROOM], body.as_bytes()).await?;
            ensure!(witness.payload().await? == body.as_bytes());
        }
        alice.expect(ROOM, last).await?;
        bob.expect(ROOM, last).await?;

        drop(bob.input);
        let (members, _) = witness.view(kind::BY_DISCONNECT, ROOM).await?;
        ensure!(members == ["#alice#d1", "#witness#d2"], "{members:?}");
        alice.child.kill().await?;
        let (members, _) = witness.view(kind::BY_DISCONNECT, ROOM).await?;
        ensure!(members == ["#witness#d2"], "{members:?}");
        doors.finish().await
    })
}
