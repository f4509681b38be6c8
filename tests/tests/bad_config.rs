//! Configurations, keys and places that are wrong: a daemon says what is wrong and what is allowed, and does not start.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stentor_client::{Address, Connection};
use stentor_membership::Service;
use stentor_tests::cluster::{Cluster, Plan};
use stentor_tests::command::{command, names_all, output, path_text, printed, refused};
use stentor_tests::process::run;
use stentor_tests::scenario::scenario;
use stentor_tests::wait::{PATIENCE, until};
use toml::{Table, Value};

const LIMIT: Duration = Duration::from_secs(90);

/// Starts daemon a, which must not come up, and gives what it said.
async fn does_not_start(cluster: &Cluster) -> Result<String> {
    let output = run(&mut cluster.command("a")?, b"", PATIENCE).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
    ensure!(!said.contains("panicked"), "{said}");
    ensure!(said.matches("os error").count() < 2, "the reason stands there twice: {said}");
    Ok(said)
}

/// Changes the configuration of daemon a, which must then not come up and say all of `needed`.
async fn wrong(needed: &[&str], edit: impl FnOnce(&mut Table) -> Result<()>) -> Result<()> {
    let cluster = Plan::new(&["a", "b"]).lay_out().await?;
    cluster.edit_config("a", edit)?;
    let said = does_not_start(&cluster).await?;
    names_all(&said, needed)?;
    names_all(&said, &["a.toml"])?;
    cluster.finish().await
}

fn set(config: &mut Table, table: &str, key: &str, value: impl Into<Value>) -> Result<()> {
    let table = config.entry(table).or_insert_with(|| Value::Table(Table::new()));
    table.as_table_mut().context("no table")?.insert(key.to_owned(), value.into());
    Ok(())
}

#[test]
fn keys_and_values_are_checked() -> Result<()> {
    scenario(LIMIT, async {
        wrong(&["unknown field", "nonsense"], |config| {
            config.insert("nonsense".to_owned(), 1.into());
            Ok(())
        })
        .await?;
        wrong(&["unknown field", "hartbeat", "heartbeat"], |c| set(c, "membership", "hartbeat", "1s"))
            .await?;
        wrong(&["heartbeat", "soon"], |c| set(c, "membership", "heartbeat", "soon")).await?;
        wrong(&["heartbeat", "at least 1ms"], |c| set(c, "membership", "heartbeat", "0ms")).await?;
        wrong(&["[membership] window", "1024", "64 KiB to 1 GiB"], |c| {
            set(c, "membership", "window", "1KiB")
        })
        .await?;
        wrong(&["session_queue_out", "1KiB"], |c| set(c, "clients", "session_queue_out", "1KiB")).await
    })
}

#[test]
fn addresses_and_names_are_checked() -> Result<()> {
    scenario(LIMIT, async {
        let listen = |value: &'static str| {
            move |config: &mut Table| {
                config.insert("listen".to_owned(), value.into());
                Ok(())
            }
        };
        wrong(&["listen", "here"], listen("here")).await?;
        wrong(&["listen", "127.0.0.1:0", "1 to 65535"], listen("127.0.0.1:0")).await?;
        wrong(&["b =", "nowhere", "host:port"], |c| set(c, "daemons", "b", "nowhere")).await?;
        wrong(&["B!", "a-z"], |c| set(c, "daemons", "B!", "127.0.0.1:4810")).await?;
        wrong(&["tcp", "0.0.0.0:4800", "loopback"], |c| set(c, "clients", "tcp", "0.0.0.0:4800")).await?;
        wrong(&["name", "x", "a, b"], |config| {
            config.insert("name".to_owned(), "x".into());
            Ok(())
        })
        .await?;
        wrong(&["same address"], |config| {
            let address = config.get("listen").cloned().context("no address")?;
            set(config, "daemons", "b", address)
        })
        .await?;

        // A name twice: in a file, and on the command line of init.
        let cluster = Plan::new(&["a", "b"]).lay_out().await?;
        let text = fs::read_to_string(cluster.config("a"))?;
        let twice = text.replace("[daemons]\n", "[daemons]\nb = \"127.0.0.1:9\"\n");
        ensure!(text != twice, "no [daemons] in {text}");
        fs::write(cluster.config("a"), twice)?;
        names_all(&does_not_start(&cluster).await?, &["duplicate key", "a.toml"])?;
        let dir = cluster.dir().join("new");
        let dir = path_text(&dir)?;
        let daemons = ["--daemon", "a=127.0.0.1:4810", "--daemon", "a=127.0.0.1:4811"];
        let said = refused(None, &[&["init", dir][..], &daemons].concat(), 1).await?;
        names_all(&said, &["a", "twice"])?;
        ensure!(!Path::new(dir).join("ca.pem").exists(), "something was made");
        cluster.finish().await
    })
}

#[test]
fn keys_and_certificates_are_checked() -> Result<()> {
    scenario(LIMIT, async {
        let other = Plan::new(&["a", "b"]).lay_out().await?;
        let with = async |files: &[(&Path, &str)], needed: &[&str]| {
            let cluster = Plan::new(&["a", "b"]).lay_out().await?;
            for (from, to) in files {
                fs::copy(from, cluster.dir().join(to))?;
            }
            names_all(&does_not_start(&cluster).await?, needed)?;
            // Checking alone finds it as well.
            let check = run(cluster.command("a")?.arg("--check-config"), b"", PATIENCE).await?;
            ensure!(check.status.code() == Some(1), "--check-config ended with {}", check.status);
            names_all(&String::from_utf8_lossy(&check.stderr), needed)?;
            cluster.finish().await
        };
        let foreign = other.dir();
        let (certificate, key) = (foreign.join("a.pem"), foreign.join("a.key"));
        // Of another authority.
        let needed = ["a.pem", "not signed by the cluster's authority"];
        with(&[(&certificate, "a.pem"), (&key, "a.key")], &needed).await?;
        with(&[(&foreign.join("ca.pem"), "ca.pem")], &needed).await?;
        // Of another daemon; here all files are of the other cluster, so that only the name is wrong.
        let (ca, pem, its_key) = (foreign.join("ca.pem"), foreign.join("b.pem"), foreign.join("b.key"));
        let needed = ["a.pem", "not that of daemon a", "a.stentor"];
        with(&[(&ca, "ca.pem"), (&pem, "a.pem"), (&its_key, "a.key")], &needed).await?;
        // A key that does not go with the certificate; no certificate at all.
        with(&[(&key, "a.key")], &["a.key", "is not the key of", "a.pem"]).await?;
        with(&[(&key, "a.pem")], &["a.pem", "no certificate"]).await?;

        let cluster = Plan::new(&["a", "b"]).lay_out().await?;
        fs::remove_file(cluster.dir().join("a.pem"))?;
        names_all(&does_not_start(&cluster).await?, &["certificate", "a.pem", "No such file"])?;
        cluster.finish().await?;
        other.finish().await
    })
}

#[test]
fn a_daemon_of_another_cluster_stays_out() -> Result<()> {
    scenario(LIMIT, async {
        let mut cluster = Plan::new(&["a", "b", "c"]).lay_out().await?;
        let other = Plan::new(&["a", "b", "c"]).lay_out().await?;
        // Right in itself, but all of another authority.
        for (key, file) in [("ca", "ca.pem"), ("certificate", "c.pem"), ("key", "c.key")] {
            let path = other.dir().join(file);
            let path = path_text(&path)?;
            cluster.edit_config("c", |config| set(config, "tls", key, path))?;
        }
        for name in ["a", "b", "c"] {
            cluster.start(name)?;
        }
        stays_out(&cluster, &["authority"]).await?;
        cluster.finish().await?;
        other.finish().await
    })
}

#[test]
fn a_daemon_with_another_cluster_name_stays_out() -> Result<()> {
    scenario(LIMIT, async {
        let mut cluster = Plan::new(&["a", "b", "c"]).lay_out().await?;
        cluster.edit_config("c", |config| {
            config.insert("cluster".to_owned(), "other".into());
            Ok(())
        })?;
        for name in ["a", "b", "c"] {
            cluster.start(name)?;
        }
        stays_out(&cluster, &["stentor", "other"]).await?;
        cluster.finish().await
    })
}

/// Waits until a and b are together and c is alone, and all say why in their logs.
async fn stays_out(cluster: &Cluster, needed: &[&str]) -> Result<()> {
    cluster.until_view(&["a", "b"]).await?;
    cluster.until_view(&["c"]).await?;
    for (name, peer) in [("a", "c"), ("b", "c"), ("c", "a")] {
        until(PATIENCE, &format!("{name} says why there is no link to {peer}"), async || {
            let log = cluster.log(name);
            let warning = log.lines().find(|line| line.contains("WARN") && names_all(line, needed).is_ok());
            warning.with_context(|| format!("no such warning in\n{log}"))?;
            Ok(())
        })
        .await?;
    }
    // The two serve, and go on to do so.
    let (x, y) = (cluster.connect("a", "x").await?, cluster.connect("b", "y").await?);
    y.join("g").await?;
    let id = x.send(&["g"], Service::Safe, 100).await?;
    y.until_got(id).await
}

#[test]
fn a_port_or_socket_in_use_is_named() -> Result<()> {
    scenario(LIMIT, async {
        let cluster = Plan::new(&["a", "b"]).lay_out().await?;
        let config: Table = toml::from_str(&fs::read_to_string(cluster.config("a"))?)?;
        let listen = config.get("listen").and_then(Value::as_str).context("no listen")?.to_owned();
        let taken = UdpSocket::bind(&listen)?;
        names_all(&does_not_start(&cluster).await?, &[&listen, "in use", "listen"])?;
        drop(taken);

        let tcp = TcpListener::bind("127.0.0.1:0")?;
        let address = tcp.local_addr()?.to_string();
        cluster.edit_config("a", |c| set(c, "clients", "tcp", address.as_str()))?;
        names_all(&does_not_start(&cluster).await?, &[&address, "in use"])?;
        cluster.finish().await?;

        // Two daemons with one socket: the second says so, the first serves on.
        let mut cluster = Plan::new(&["a", "b"]).start().await?;
        names_all(&does_not_start(&cluster).await?, &["a.sock", "another daemon"])?;
        cluster.until_view(&["a", "b"]).await?;
        ensure!(cluster.daemon("a")?.ended()?.is_none(), "the first one ended");
        cluster.finish().await
    })
}

#[test]
fn a_socket_is_made_only_where_it_may_be() -> Result<()> {
    scenario(LIMIT, async {
        // A directory that is none: what every other daemon finds who may not enter one.
        let mut cluster = Plan::new(&["a"]).lay_out().await?;
        cluster.edit_config("a", |c| set(c, "clients", "socket", "ca.pem/a.sock"))?;
        names_all(&does_not_start(&cluster).await?, &["ca.pem"])?;
        cluster.edit_config("a", |c| set(c, "clients", "socket", "nowhere/a.sock"))?;
        names_all(&does_not_start(&cluster).await?, &["nowhere"])?;
        let long = "x".repeat(200);
        cluster.edit_config("a", |c| set(c, "clients", "socket", long.as_str()))?;
        names_all(&does_not_start(&cluster).await?, &["socket", "107"])?;

        // Something else that has the name is left alone.
        let precious = cluster.dir().join("precious");
        fs::write(&precious, "precious")?;
        cluster.edit_config("a", |c| set(c, "clients", "socket", "precious"))?;
        names_all(&does_not_start(&cluster).await?, &["precious", "not a socket"])?;
        ensure!(fs::read_to_string(&precious)? == "precious", "it was changed");

        // What a dead daemon left is replaced, and removed at the end.
        cluster.edit_config("a", |c| set(c, "clients", "socket", "a.sock"))?;
        drop(std::os::unix::net::UnixListener::bind(cluster.dir().join("a.sock"))?);
        cluster.start("a")?;
        cluster.until_view(&["a"]).await?;
        ensure!(cluster.terminate("a").await?.success(), "it did not stop in order");
        ensure!(!cluster.dir().join("a.sock").exists(), "the socket is still there");
        cluster.finish().await
    })
}

#[test]
fn the_configuration_can_be_checked_and_printed() -> Result<()> {
    scenario(LIMIT, async {
        let cluster = Plan::new(&["a", "b"]).lay_out().await?;
        let config = cluster.config("a");
        let said = printed(None, &["daemon", "--config", path_text(&config)?, "--check-config"], b"").await?;
        names_all(&said, &["good", "a"])?;
        let effective =
            printed(None, &["daemon", "--config", path_text(&config)?, "--print-config"], b"").await?;
        fs::write(&config, &effective)?;
        let again =
            printed(None, &["daemon", "--config", path_text(&config)?, "--print-config"], b"").await?;
        ensure!(effective == again, "printed {effective}, and read again {again}");
        names_all(&effective, &["heartbeat", "session_queue_out", "max_message", "require_primary"])?;
        let said = refused(None, &["daemon", "--config", "/nowhere.toml"], 1).await?;
        names_all(&said, &["/nowhere.toml", "No such file", "stentor init"])?;
        ensure!(said.matches("No such file").count() == 1, "the reason stands there twice: {said}");
        cluster.finish().await
    })
}

#[test]
fn init_overwrites_nothing() -> Result<()> {
    scenario(LIMIT, async {
        let cluster = Plan::new(&["a", "b"]).lay_out().await?;
        let read = || -> Result<Vec<(String, Vec<u8>)>> {
            let files = fs::read_dir(cluster.dir())?;
            let mut files: Vec<_> = files
                .map(|file| {
                    let path = file?.path();
                    anyhow::Ok((path.display().to_string(), fs::read(path)?))
                })
                .collect::<Result<_>>()?;
            files.sort();
            Ok(files)
        };
        let before = read()?;
        let dir = path_text(cluster.dir())?;
        let said = refused(None, &["init", dir, "--daemon", "a=127.0.0.1:4810"], 1).await?;
        names_all(&said, &["exists", "not overwritten"])?;
        // A new daemon's files would be new, but the authority's are there.
        let said = refused(None, &["init", dir, "--daemon", "z=127.0.0.1:4810"], 1).await?;
        names_all(&said, &["exists"])?;
        ensure!(read()? == before, "files were changed");
        for bad in ["a", "a=", "a=host", "A=h:1", "=h:1", "a=h:0", "a=h:99999"] {
            let output = output(None, &["init", dir, "--daemon", bad], b"").await?;
            ensure!(output.status.code() == Some(2), "{bad}: {}", output.status);
            names_all(&String::from_utf8_lossy(&output.stderr), &["--daemon"])?;
        }
        cluster.finish().await
    })
}

#[test]
fn without_a_configuration_it_is_a_cluster_of_one() -> Result<()> {
    scenario(LIMIT, async {
        let dir = tempfile::tempdir()?;
        let with_home = |args: &[&str]| -> Result<Command> {
            let mut command = command(None, args)?;
            command.env("XDG_RUNTIME_DIR", dir.path());
            Ok(command)
        };
        let mut daemon = with_home(&["daemon"])?;
        let mut daemon = stentor_tests::process::Process::start(&mut daemon, &dir.path().join("log"))?;
        let socket = Address::Unix(dir.path().join("stentor/stentor.sock"));
        until(PATIENCE, "the daemon serves", async || Ok(Connection::connect(&socket).await?)).await?;
        let status = run(&mut with_home(&["status", "--json"])?, b"", PATIENCE).await?;
        let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
        ensure!(status["members"].as_array().is_some_and(|m| m.len() == 1), "{status}");
        ensure!(status["primary"] == true, "{status}");
        let sent = run(&mut with_home(&["send", "g", "hello"])?, b"", PATIENCE).await?;
        ensure!(sent.status.success(), "{sent:?}");
        daemon.signal(stentor_tests::process::Signal::TERM)?;
        ensure!(daemon.wait(PATIENCE).await?.success(), "{}", daemon.log());
        Ok(())
    })
}
