//! A configuration of Spread becomes a running cluster, and one of its programs connects.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stentor_tests::cluster::{Plan, free_address};
use stentor_tests::command::{names_all, path_text, printed, refused};
use stentor_tests::scenario::scenario;
use stentor_tests::spread::client::Client;
use stentor_tests::spread::doors::Place;

const LIMIT: Duration = Duration::from_secs(90);

#[test]
fn what_is_imported_runs() -> Result<()> {
    scenario(LIMIT, async {
        let mut cluster = Plan::new(&["one"]).lay_out().await?;
        let port = free_address()?.port();
        let conf = cluster.dir().join("spread.conf");
        fs::write(
            &conf,
            format!(
                "# as in the sample\nSpread_Segment 127.0.0.255:{port} {{\n\tone\t127.0.0.1\n}}\n\
                 EventLogFile = spread.log\nMaxSessionMessages = 5000\n"
            ),
        )?;
        let config = printed(None, &["import-spread", path_text(&conf)?], b"").await?;
        names_all(&config, &["stentor init", "EventLogFile", "MaxSessionMessages", "session_queue_out"])?;
        // The cluster's own port, which no other test has.
        let own = fs::read_to_string(cluster.config("one"))?;
        let own = own.lines().find(|line| line.starts_with("one = ")).context("no address")?;
        let address = own.split('"').nth(1).context("no address")?;
        let config = config.replace("127.0.0.1:4810", address).replace("/tmp/", "");
        fs::write(cluster.config("one"), config)?;
        let check = cluster.command("one")?.arg("--check-config").output()?;
        ensure!(check.status.success(), "{check:?}");
        cluster.start("one")?;
        cluster.until_view(&["one"]).await?;
        for place in
            [Place::Unix(cluster.dir().join(port.to_string())), Place::Tcp(([127, 0, 0, 1], port).into())]
        {
            let mut client = Client::connect(&place, "alice", true).await?;
            client.join("room").await?;
            client.kill().await?;
        }
        cluster.finish().await
    })
}

#[test]
fn what_cannot_be_imported_is_named() -> Result<()> {
    scenario(LIMIT, async {
        let dir = tempfile::tempdir()?;
        let conf = dir.path().join("spread.conf");
        let missing = refused(None, &["import-spread", path_text(&conf)?], 1).await?;
        names_all(&missing, &["spread.conf", "No such file"])?;
        fs::write(&conf, "Spread_Segment 127.0.0.255:4803 {\n\none here {\n}\n")?;
        let broken = refused(None, &["import-spread", path_text(&conf)?], 1).await?;
        names_all(&broken, &["spread.conf", "'}' is missing"])?;
        fs::write(&conf, "Spread_Segment 127.0.0.255:4803 { one 127.0.0.1 }")?;
        let unknown = refused(None, &["import-spread", path_text(&conf)?, "--daemon", "two"], 1).await?;
        names_all(&unknown, &["two", "one"])?;
        let mut password = Command::new(stentor_tests::binary::stentor()?);
        let long =
            stentor_tests::process::run(password.args(["spread-password", "u"]), b"123456789\n", LIMIT)
                .await?;
        ensure!(!long.status.success());
        names_all(&String::from_utf8_lossy(&long.stderr), &["9 bytes", "1 to 8"])
    })
}
