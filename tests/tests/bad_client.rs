//! Clients that break the rules: each is told what is wrong, and everybody else is served on.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use rand::rngs::ChaCha12Rng;
use rand::{Rng, RngExt, SeedableRng};
use stentor_client::wire::{ClientFrame, DaemonFrame, GoodbyeCode, RefusalCode, preamble};
use stentor_client::{ConnectError, Connection, Content, RequestError, SendError, Service};
use stentor_tests::cluster::{Cluster, Plan};
use stentor_tests::command::names_all;
use stentor_tests::raw::Raw;
use stentor_tests::recorder::Recorder;
use stentor_tests::scenario::scenario;
use stentor_tests::verdict::verdict;
use stentor_tests::wait::{PATIENCE, until};

const LIMIT: Duration = Duration::from_secs(90);

/// Two daemons, and a client on each that must not notice anything.
struct Bystanders {
    cluster: Cluster,
    x: Recorder,
    y: Recorder,
}

impl Bystanders {
    async fn new(plan: Plan) -> Result<Self> {
        let cluster = plan.start().await?;
        let (x, y) = (cluster.connect("a", "x").await?, cluster.connect("b", "y").await?);
        x.join("bystanders").await?;
        y.join("bystanders").await?;
        Ok(Self { cluster, x, y })
    }

    /// Checks that they are served as before.
    async fn are_served(&self) -> Result<()> {
        let id = self.x.send(&["bystanders"], Service::Safe, 100).await?;
        self.y.until_got(id).await?;
        let id = self.y.send(&["bystanders"], Service::Agreed, 100).await?;
        self.x.until_got(id).await
    }

    async fn finish(self) -> Result<()> {
        self.are_served().await?;
        verdict("bystanders", &[&self.x, &self.y], &[], &["order"]).await?;
        self.cluster.finish().await
    }

    async fn raw(&self) -> Result<Raw> {
        Raw::connect(&self.cluster.address("a")).await
    }

    async fn open(&self, name: &str) -> Result<Raw> {
        Raw::open(&self.cluster.address("a"), name).await
    }

    /// Checks how the daemon ended a connection, and that nobody else noticed.
    async fn ended(&self, raw: Raw, code: GoodbyeCode, needed: &[&str]) -> Result<()> {
        let (is, text) = raw.goodbye().await?;
        ensure!(is == code, "{is:?} instead of {code:?}: {text}");
        names_all(&text, needed)?;
        self.are_served().await
    }
}

fn plan() -> Plan {
    let plan = Plan::new(&["a", "b"]).set("membership", "suspect_after_min", "1min");
    plan.set("membership", "suspect_after_max", "1min")
}

#[test]
fn strangers_and_other_versions_are_told_so() -> Result<()> {
    scenario(LIMIT, async {
        let others = Bystanders::new(plan()).await?;
        for garbage in [&b"GET / HTTP/1.1\r\nHost: stentor\r\n\r\n"[..], b"\0", b"STENTOR!", &[0xff; 4096]] {
            let mut raw = others.raw().await?;
            raw.say(garbage).await?;
            others.ended(raw, GoodbyeCode::Protocol, &["Stentor's session protocol"]).await?;
        }
        for version in [0_u16, 2, 0xffff] {
            let mut raw = others.raw().await?;
            raw.say(b"STENTOR\0").await?;
            raw.say(&version.to_le_bytes()).await?;
            others.ended(raw, GoodbyeCode::Version, &[&version.to_string(), "version 1"]).await?;
        }
        // Right so far, and then something else than an introduction.
        let mut raw = others.raw().await?;
        raw.say(&preamble()).await?;
        raw.frame(&ClientFrame::Status { request: 1 }).await?;
        others.ended(raw, GoodbyeCode::Protocol, &["Hello"]).await?;
        others.finish().await
    })
}

#[test]
fn frames_that_are_too_large_are_refused_unread() -> Result<()> {
    scenario(LIMIT, async {
        let mut others = Bystanders::new(plan().set("membership", "max_message", "1MiB")).await?;
        let before = others.cluster.daemon("a")?.resident()?;
        let mut raw = others.raw().await?;
        raw.say(&preamble()).await?;
        raw.say(&5000_u32.to_le_bytes()).await?;
        others.ended(raw, GoodbyeCode::TooLarge, &["5000", "4096"]).await?;
        let limit = (1 << 20) + (64 << 10);
        for size in [limit + 1, u32::MAX] {
            let mut raw = others.open("large").await?;
            raw.say(&size.to_le_bytes()).await?;
            raw.say(&[0; 100]).await?;
            others.ended(raw, GoodbyeCode::TooLarge, &[&size.to_string(), &limit.to_string()]).await?;
        }
        // Claims alone cost nothing.
        let mut claims = Vec::new();
        for number in 0..100 {
            let mut raw = others.open(&format!("claim{number}")).await?;
            raw.say(&limit.to_le_bytes()).await?;
            claims.push(raw);
        }
        others.are_served().await?;
        let grown = others.cluster.daemon("a")?.resident()?.saturating_sub(before);
        ensure!(grown < 50 << 20, "100 claims of 1 MiB grew the daemon by {grown} bytes");
        drop(claims);
        others.finish().await
    })
}

#[test]
fn garbage_in_frames_ends_the_session_alone() -> Result<()> {
    scenario(LIMIT, async {
        let others = Bystanders::new(plan()).await?;
        let mut random = ChaCha12Rng::seed_from_u64(7);
        for body in [&b""[..], b"\xff", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x07trailing"] {
            let mut raw = others.open("garbage").await?;
            raw.body(body).await?;
            others.ended(raw, GoodbyeCode::Protocol, &["malformed"]).await?;
        }
        for _ in 0..50 {
            let mut raw = others.open("garbage").await?;
            let mut body = vec![0; random.random_range(1..200)];
            random.fill_bytes(&mut body);
            raw.body(&body).await?;
            // It may be a frame by chance; then this is not.
            raw.body(b"\xff\xff").await?;
            let (code, text) = raw.goodbye().await?;
            ensure!(code != GoodbyeCode::ShuttingDown && !text.is_empty(), "{code:?}: {text}");
        }
        // Frames that end too early, at every place.
        let mut whole = bytes::BytesMut::new();
        stentor_client::wire::Frame::encode(
            &ClientFrame::Join { request: 1, group: "cut".parse()? },
            &mut whole,
        )?;
        for length in 0..whole.len() {
            let mut raw = others.open("cut").await?;
            raw.say(&whole[..length]).await?;
            drop(raw);
            others.are_served().await?;
        }
        until(PATIENCE, "the daemon has noticed that they are gone", async || {
            let sessions = others.cluster.status("a").await?.sessions;
            ensure!(sessions.iter().all(|s| s.name.as_str() != "cut"), "{sessions:?}");
            Ok(())
        })
        .await?;
        others.finish().await
    })
}

#[test]
fn slow_introductions_are_given_up() -> Result<()> {
    scenario(LIMIT, async {
        let others = Bystanders::new(plan().set("clients", "handshake_timeout", "1s")).await?;
        let silent = others.raw().await?;
        others.ended(silent, GoodbyeCode::TimedOut, &["1s", "handshake_timeout"]).await?;
        // A byte now and then does not count as an introduction.
        let mut raw = others.raw().await?;
        let mut ticks = tokio::time::interval(Duration::from_millis(300));
        for byte in preamble() {
            ticks.tick().await;
            if raw.say(&[byte]).await.is_err() {
                break;
            }
        }
        others.ended(raw, GoodbyeCode::TimedOut, &["1s", "handshake_timeout"]).await?;

        // Once introduced, a client may take its time, and nobody waits for it.
        let mut raw = others.open("slow").await?;
        let mut bytes = bytes::BytesMut::new();
        let join = ClientFrame::Join { request: 1, group: "slow".parse()? };
        stentor_client::wire::Frame::encode(&join, &mut bytes)?;
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        for byte in &bytes {
            ticks.tick().await;
            raw.say(&[*byte]).await?;
            others.are_served().await?;
        }
        let joined = raw.next().await?;
        ensure!(matches!(joined, DaemonFrame::Membership(_)), "{joined:?}");
        others.finish().await
    })
}

#[test]
fn names_are_checked() -> Result<()> {
    scenario(LIMIT, async {
        let others = Bystanders::new(plan().set("clients", "max_sessions", 5)).await?;
        // Hello is 0, a name that is there 1, its length, itself.
        for (name, needed) in [("a#b", "'#'"), ("a b", "visible"), ("", "1 to 32")] {
            let mut raw = others.raw().await?;
            raw.say(&preamble()).await?;
            let mut hello = vec![0, 1, u8::try_from(name.len())?];
            hello.extend(name.bytes());
            raw.body(&hello).await?;
            others.ended(raw, GoodbyeCode::NameInvalid, &[needed, name]).await?;
        }
        ensure!(Connection::builder().name("a#b").is_err(), "the library takes it");

        let address = others.cluster.address("a");
        let connect = async |name: &str| Connection::builder().name(name)?.connect(&address).await;
        match connect("x").await {
            Err(ConnectError::Refused { code: GoodbyeCode::NameTaken, text, .. }) => {
                names_all(&text, &["name x", "taken", "choose another"])?;
            }
            other => bail!("{other:?}"),
        }
        // The same name on another daemon is another session.
        let elsewhere = Connection::builder().name("x")?.connect(&others.cluster.address("b")).await?;
        elsewhere.sender.close().await?;

        let mut open = Vec::new();
        let refused = loop {
            ensure!(open.len() < 6, "more sessions than allowed");
            match connect(&format!("s{}", open.len())).await {
                Ok(connection) => open.push(connection),
                Err(refused) => break refused,
            }
        };
        let ConnectError::Refused { code: GoodbyeCode::TooManySessions, text, .. } = refused else {
            bail!("{refused:?}");
        };
        names_all(&text, &["5", "max_sessions"])?;
        // Whoever goes makes room.
        drop(open);
        until(PATIENCE, "there is room again", async || Ok(connect("again").await?)).await?;
        others.finish().await
    })
}

#[test]
fn requests_that_make_no_sense_are_refused_and_the_session_goes_on() -> Result<()> {
    scenario(LIMIT, async {
        let plan = plan().set("membership", "max_message", "1MiB").set("clients", "max_groups", 3);
        let others = Bystanders::new(plan).await?;
        let sender = others.x.sender();
        match sender.leave("elsewhere")?.await {
            Err(RequestError::Refused { code: RefusalCode::NotMember, text }) => {
                names_all(&text, &["elsewhere", "not a member"])?;
            }
            other => bail!("{other:?}"),
        }
        match sender.join("bystanders")?.await {
            Err(RequestError::Refused { code: RefusalCode::AlreadyMember, text }) => {
                names_all(&text, &["bystanders", "already"])?;
            }
            other => bail!("{other:?}"),
        }
        for name in ["second", "third"] {
            sender.join(name)?.await?;
        }
        match sender.join("fourth")?.await {
            Err(RequestError::Refused { code: RefusalCode::TooManyGroups, text }) => {
                names_all(&text, &["3 groups", "leave one", "max_groups"])?;
            }
            other => bail!("{other:?}"),
        }
        for name in ["", "#g", "a b", &"g".repeat(65)] {
            ensure!(matches!(sender.join(name), Err(RequestError::Name(_))), "{name:?} is taken for a group");
        }
        match sender.multicast(&["g"], Service::Agreed, vec![0; 1 << 20]).await {
            Err(error @ SendError::TooLarge { .. }) => {
                names_all(&error.to_string(), &["1048576", "1048581", "max_message"])?;
            }
            other => bail!("{other:?}"),
        }
        others.are_served().await?;

        // What the library does not let through, the daemon refuses by itself.
        let mut raw = others.open("raw").await?;
        let large = Content::new(&["g"], 0, &vec![0; 1 << 20])?;
        let good = Content::new(&["#raw#a"], 0, b"still here")?;
        for (content, code, needed) in [
            (large.encoded().clone(), RefusalCode::TooLarge, &["1048581", "1048576"][..]),
            (Bytes::from_static(b"\x00"), RefusalCode::Invalid, &["0 destinations"]),
            (Bytes::from_static(b"\x01\x02#g\0\0"), RefusalCode::Invalid, &["name"]),
            (Bytes::from_static(b"\x01\x09short"), RefusalCode::Invalid, &["malformed"]),
        ] {
            let multicast =
                |content| ClientFrame::Multicast { service: Service::Agreed, discard_self: false, content };
            raw.frame(&multicast(content)).await?;
            raw.frame(&multicast(good.encoded().clone())).await?;
            let (refused, message) = (raw.next().await?, raw.next().await?);
            let DaemonFrame::Rejected { code: is, text, .. } = &refused else { bail!("{refused:?}") };
            ensure!(*is == code, "{is:?}: {text}");
            names_all(text, needed)?;
            ensure!(matches!(message, DaemonFrame::Message { .. }), "{message:?}");
        }
        others.finish().await
    })
}
