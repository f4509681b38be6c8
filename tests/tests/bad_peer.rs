//! A peer with the right key that says wrong things, and strangers without one: the others go on.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::rngs::ChaCha12Rng;
use rand::{Rng, RngExt, SeedableRng};
use stentor_membership::Service;
use stentor_tests::cluster::{Cluster, Plan};
use stentor_tests::command::names_all;
use stentor_tests::peer::{Hello, Identity, Peer, VERSION};
use stentor_tests::recorder::Recorder;
use stentor_tests::scenario::scenario;
use stentor_tests::verdict::verdict;
use stentor_tests::wait::{PATIENCE, until};

const LIMIT: Duration = Duration::from_secs(90);

/// Daemons b and c of a cluster in which the test plays a, and a client on each.
struct Others {
    cluster: Cluster,
    b: SocketAddr,
    y: Recorder,
    z: Recorder,
}

impl Others {
    async fn new() -> Result<Self> {
        let plan = Plan::new(&["a", "b", "c"]).set("membership", "suspect_after_min", "1min");
        let mut cluster = plan.set("membership", "suspect_after_max", "1min").lay_out().await?;
        cluster.start("b")?;
        cluster.start("c")?;
        cluster.until_view(&["b", "c"]).await?;
        let (y, z) = (cluster.connect("b", "y").await?, cluster.connect("c", "z").await?);
        y.join("g").await?;
        z.join("g").await?;
        let config: toml::Table = toml::from_str(&std::fs::read_to_string(cluster.config("b"))?)?;
        let b = config.get("listen").and_then(|listen| listen.as_str()).context("no address")?.parse()?;
        Ok(Self { cluster, b, y, z })
    }

    fn a(&self) -> Result<Identity> {
        Identity::load(self.cluster.dir(), Some("a"))
    }

    async fn are_served(&self) -> Result<()> {
        let id = self.y.send(&["g"], Service::Safe, 1000).await?;
        self.z.until_got(id).await?;
        let id = self.z.send(&["g"], Service::Agreed, 1000).await?;
        self.y.until_got(id).await
    }

    /// Waits until b has logged a warning with all of this.
    async fn b_warns(&self, needed: &[&str]) -> Result<()> {
        until(PATIENCE, &format!("b warns of {needed:?}"), async || {
            let log = self.cluster.log("b");
            let found = log.lines().any(|line| line.contains("WARN") && names_all(line, needed).is_ok());
            ensure!(found, "it says\n{log}");
            Ok(())
        })
        .await
    }

    async fn finish(self) -> Result<()> {
        self.are_served().await?;
        verdict("g", &[&self.y, &self.z], &[], &["order", "safe"]).await?;
        self.cluster.until_view(&["b", "c"]).await?;
        self.cluster.finish().await
    }
}

#[test]
fn garbage_after_a_valid_handshake_ends_the_link_alone() -> Result<()> {
    scenario(LIMIT, async {
        let others = Others::new().await?;
        let a = others.a()?;
        let mut random = ChaCha12Rng::seed_from_u64(3);
        let mut peer = Peer::link(&a, others.b, "b", "a").await?;
        peer.frame(b"\xff\xff\xff\xff garbage").await?;
        names_all(&peer.refused().await?, &["malformed frame"])?;
        others.b_warns(&["a", "malformed"]).await?;
        others.are_served().await?;

        for _ in 0..60 {
            let mut peer = Peer::link(&a, others.b, "b", "a").await?;
            let mut frame = vec![0; random.random_range(0..300)];
            random.fill_bytes(&mut frame);
            peer.frame(&frame).await?;
            // By chance it may be a frame; this is none. If it was none either, the daemon may have gone.
            let _ = peer.frame(b"\xff\xff\xff\xff").await;
            let reason = peer.refused().await?;
            ensure!(!reason.is_empty(), "closed without a reason");
        }
        others.are_served().await?;
        let counted = others.cluster.counter("b", "violations").await?;
        ensure!(counted >= 61, "{counted} violations are counted");
        others.finish().await
    })
}

#[test]
fn frames_beyond_the_limit_and_torn_ones_end_the_link_alone() -> Result<()> {
    scenario(LIMIT, async {
        let mut others = Others::new().await?;
        let before = others.cluster.daemon("b")?.resident()?;
        let a = others.a()?;
        for size in [(4 << 20) + 1, u32::MAX] {
            let mut peer = Peer::link(&a, others.b, "b", "a").await?;
            peer.say(&size.to_le_bytes()).await?;
            names_all(&peer.refused().await?, &[&size.to_string(), "4194304"])?;
            others.are_served().await?;
        }
        // A frame that never ends, and one whose stream does.
        let mut stuck = Peer::link(&a, others.b, "b", "a").await?;
        stuck.say(&(4_u32 << 20).to_le_bytes()).await?;
        stuck.say(b"begun").await?;
        others.are_served().await?;
        let mut torn = Peer::link(&a, others.b, "b", "a").await?;
        torn.say(&100_u32.to_le_bytes()).await?;
        torn.end();
        others.are_served().await?;
        let grown = others.cluster.daemon("b")?.resident()?.saturating_sub(before);
        ensure!(grown < 32 << 20, "the daemon grew by {grown} bytes");
        drop((stuck, torn));
        others.finish().await
    })
}

#[test]
fn garbage_in_datagrams_ends_the_link_alone() -> Result<()> {
    scenario(LIMIT, async {
        let others = Others::new().await?;
        let a = others.a()?;
        for datagram in [&b""[..], b"\xff", &[0x55; 1000]] {
            let peer = Peer::link(&a, others.b, "b", "a").await?;
            peer.datagram(datagram)?;
            names_all(&peer.refused().await?, &["malformed frame"])?;
            others.are_served().await?;
        }
        others.finish().await
    })
}

#[test]
fn wrong_introductions_are_refused_with_the_reason() -> Result<()> {
    scenario(LIMIT, async {
        let others = Others::new().await?;
        let a = others.a()?;
        let right = Hello::of("a")?;
        let other_cluster = Hello { cluster: "other".to_owned(), ..right.clone() };
        let other_name = Hello { daemon: Hello::of("c")?.daemon, ..right.clone() };
        for (hello, needed) in [
            (b"garbage".to_vec(), &["version"][..]),
            (vec![], &["malformed"]),
            (vec![1, 0, 0xff], &["malformed"]),
            (right.frame(VERSION + 1)?, &["version 2", "we speak 1"]),
            (right.frame(0)?, &["version 0", "we speak 1"]),
            (other_cluster.frame(VERSION)?, &["\"other\"", "\"stentor\""]),
            (other_name.frame(VERSION)?, &["c", "certificate"]),
            (vec![0; 2000], &["2000", "1024"]),
        ] {
            let mut peer = Peer::dial(&a, others.b, "b").await?;
            peer.frame(&hello).await?;
            names_all(&peer.refused().await?, needed)?;
        }
        // The higher name does not dial: c has the right key, but this is not how it would come.
        let c = Identity::load(others.cluster.dir(), Some("c"))?;
        let mut peer = Peer::dial(&c, others.b, "b").await?;
        peer.frame(&Hello::of("c")?.frame(VERSION)?).await?;
        names_all(&peer.refused().await?, &["c dialled", "lower name"])?;
        others.finish().await
    })
}

#[test]
fn strangers_do_not_get_in() -> Result<()> {
    scenario(LIMIT, async {
        let others = Others::new().await?;
        // Somebody else's certificate, with this cluster's authority so that b itself is believed.
        let other = Plan::new(&["a", "b"]).lay_out().await?;
        std::fs::copy(others.cluster.dir().join("ca.pem"), other.dir().join("ca.pem"))?;
        for identity in [Identity::load(other.dir(), Some("a"))?, Identity::load(others.cluster.dir(), None)?]
        {
            let peer = Peer::dial(&identity, others.b, "b").await;
            // The client's side of the handshake may be over before the daemon has looked at its certificate.
            if let Ok(mut peer) = peer {
                let _ = peer.frame(&Hello::of("a")?.frame(VERSION)?).await;
                let closed = peer.refused().await;
                ensure!(closed.is_err(), "closed like one that got in: {closed:?}");
            }
            others.are_served().await?;
        }
        // The second one so soon after the first is not logged by itself.
        others.b_warns(&["connection from 127.0.0.1", "authority"]).await?;
        other.finish().await?;
        others.finish().await
    })
}

#[test]
fn noise_on_the_port_is_nothing() -> Result<()> {
    scenario(LIMIT, async {
        let others = Others::new().await?;
        let noise = std::net::UdpSocket::bind("127.0.0.1:0")?;
        let mut random = ChaCha12Rng::seed_from_u64(5);
        for _ in 0..2000 {
            let mut packet = vec![0; random.random_range(0..1500)];
            random.fill_bytes(&mut packet);
            noise.send_to(&packet, others.b)?;
        }
        others.finish().await
    })
}
