//! A network between daemons that tests can spoil: a UDP proxy for every ordered pair, each direction by itself.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

/// A packet, and room for the largest.
const PACKET_MAX: usize = 65_536;

/// Packets that wait in one direction; more are lost, as in any network.
const QUEUE: usize = 4096;

/// What happens to packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Path {
    /// Nothing passes.
    pub cut: bool,
    /// The part of the packets that is lost, from 0 to 1.
    pub loss: f64,
    /// How long a packet is on its way.
    pub delay: Duration,
}

/// From whom to whom.
type Direction = (String, String);

/// The proxies of a cluster. They end when it is dropped.
#[derive(Debug)]
pub struct Network {
    paths: Arc<Mutex<BTreeMap<Direction, Path>>>,
    /// Where the first of a pair finds the second.
    entrances: BTreeMap<Direction, SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    /// Starts proxies between daemons, which listen at these addresses. All is well at first; `seed` decides which
    /// packets are lost.
    ///
    /// # Errors
    /// If there are no sockets to be had.
    pub fn start(daemons: &BTreeMap<String, SocketAddr>, seed: u64) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let inside = runtime.enter();
        let paths: Arc<Mutex<BTreeMap<Direction, Path>>> = Arc::default();
        let mut entrances = BTreeMap::new();
        let (stop, stopped) = oneshot::channel::<()>();
        let pairs = daemons.keys().flat_map(|from| daemons.iter().map(move |(to, at)| (from, to, *at)));
        for (number, (from, to, target)) in pairs.filter(|(from, to, _)| from != to).enumerate() {
            let (entrance, exit) = (Arc::new(socket()?), Arc::new(socket()?));
            entrances.insert((from.clone(), to.clone()), entrance.local_addr()?);
            let caller: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
            let seed = seed.wrapping_mul(1000).wrapping_add(u64::try_from(number)?);
            let there = Pipe::new(&paths, from, to, seed);
            let back = Pipe::new(&paths, to, from, !seed);
            let remember = caller.clone();
            runtime.spawn(there.run(entrance.clone(), exit.clone(), move |source| {
                *lock(&remember) = Some(source);
                Some(target)
            }));
            runtime.spawn(back.run(exit, entrance, move |_| *lock(&caller)));
        }
        drop(inside);
        let thread = std::thread::Builder::new().name("proxy".to_owned()).spawn(move || {
            // An error means that the network was dropped.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { paths, entrances, stop: Some(stop), thread: Some(thread) })
    }

    /// Where `from` finds `to`.
    ///
    /// # Errors
    /// If there is no such pair.
    pub fn entrance(&self, from: &str, to: &str) -> Result<SocketAddr> {
        let direction = (from.to_owned(), to.to_owned());
        self.entrances.get(&direction).copied().with_context(|| format!("no proxy from {from} to {to}"))
    }

    /// Changes one direction.
    pub fn set(&self, from: &str, to: &str, path: Path) {
        lock(&self.paths).insert((from.to_owned(), to.to_owned()), path);
    }

    /// Changes all directions.
    pub fn set_all(&self, path: Path) {
        let mut paths = lock(&self.paths);
        for direction in self.entrances.keys() {
            paths.insert(direction.clone(), path);
        }
    }

    /// Cuts what goes from some to others, in this direction.
    pub fn cut(&self, from: &[&str], to: &[&str]) {
        let mut paths = lock(&self.paths);
        for from in from {
            for to in to {
                paths.entry(((*from).to_owned(), (*to).to_owned())).or_default().cut = true;
            }
        }
    }

    /// Cuts all between parts, both ways.
    pub fn split(&self, parts: &[&[&str]]) {
        for (index, from) in parts.iter().enumerate() {
            for (_, to) in parts.iter().enumerate().filter(|(other, _)| *other != index) {
                self.cut(from, to);
            }
        }
    }

    /// Makes all well again.
    pub fn heal(&self) {
        lock(&self.paths).clear();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends at once; a panic there was reported there.
            let _ = thread.join();
        }
    }
}

/// One direction of a proxy.
struct Pipe {
    paths: Arc<Mutex<BTreeMap<Direction, Path>>>,
    direction: Direction,
    random: ChaCha12Rng,
}

impl Pipe {
    fn new(paths: &Arc<Mutex<BTreeMap<Direction, Path>>>, from: &str, to: &str, seed: u64) -> Self {
        let direction = (from.to_owned(), to.to_owned());
        Self { paths: paths.clone(), direction, random: ChaCha12Rng::seed_from_u64(seed) }
    }

    /// Passes packets from `entrance` on through `exit` to where `target` says, given their source.
    async fn run(
        mut self,
        entrance: Arc<UdpSocket>,
        exit: Arc<UdpSocket>,
        target: impl Fn(SocketAddr) -> Option<SocketAddr>,
    ) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let mut buffer = vec![0; PACKET_MAX];
        let receive = async {
            loop {
                // Errors are echoes of packets to a daemon that is down.
                let Ok((size, source)) = entrance.recv_from(&mut buffer).await else { continue };
                let (Some(target), Some(packet)) = (target(source), buffer.get(..size)) else { continue };
                let path = lock(&self.paths).get(&self.direction).copied().unwrap_or_default();
                let lost = path.cut || (path.loss > 0.0 && self.random.random_bool(path.loss.min(1.0)));
                if lost {
                    continue;
                }
                if path.delay.is_zero() {
                    let _ = exit.send_to(packet, target).await;
                } else {
                    // A full queue loses the packet.
                    let _ = queue.try_send((Instant::now() + path.delay, packet.to_vec(), target));
                }
            }
        };
        tokio::join!(receive, deliver(waiting, exit.clone()));
    }
}

/// Sends packets when they are due.
async fn deliver(mut waiting: mpsc::Receiver<(Instant, Vec<u8>, SocketAddr)>, exit: Arc<UdpSocket>) {
    while let Some((due, packet, target)) = waiting.recv().await {
        tokio::time::sleep_until(due.into()).await;
        let _ = exit.send_to(&packet, target).await;
    }
}

fn socket() -> Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no UDP socket")?;
    socket.set_nonblocking(true)?;
    Ok(UdpSocket::from_std(socket)?)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);
    const NEVER: Duration = Duration::from_millis(200);

    fn pair() -> (Network, UdpSocket, UdpSocket) {
        let (a, b) = (socket().unwrap(), socket().unwrap());
        let daemons = [("a", &a), ("b", &b)].map(|(n, s)| (n.to_owned(), s.local_addr().unwrap()));
        (Network::start(&daemons.into(), 1).unwrap(), a, b)
    }

    async fn receive(socket: &UdpSocket, limit: Duration) -> Option<(Vec<u8>, SocketAddr)> {
        let mut buffer = [0; 100];
        let (size, from) = timeout(limit, socket.recv_from(&mut buffer)).await.ok()?.unwrap();
        Some((buffer[..size].to_vec(), from))
    }

    #[tokio::test]
    async fn packets_go_there_and_back() {
        let (network, a, b) = pair();
        a.send_to(b"ping", network.entrance("a", "b").unwrap()).await.unwrap();
        let (ping, from) = receive(&b, SOON).await.unwrap();
        assert_eq!(ping, b"ping");
        b.send_to(b"pong", from).await.unwrap();
        let (pong, from) = receive(&a, SOON).await.unwrap();
        assert_eq!((pong.as_slice(), from), (b"pong".as_slice(), network.entrance("a", "b").unwrap()));
    }

    #[tokio::test]
    async fn a_direction_is_cut_and_healed() {
        let (network, a, b) = pair();
        let to_b = network.entrance("a", "b").unwrap();
        a.send_to(b"1", to_b).await.unwrap();
        let (_, to_a) = receive(&b, SOON).await.unwrap();
        network.cut(&["a"], &["b"]);
        a.send_to(b"2", to_b).await.unwrap();
        b.send_to(b"3", to_a).await.unwrap();
        assert_eq!(receive(&a, SOON).await.unwrap().0, b"3", "the other direction is open");
        assert_eq!(receive(&b, NEVER).await, None);
        network.heal();
        a.send_to(b"4", to_b).await.unwrap();
        assert_eq!(receive(&b, SOON).await.unwrap().0, b"4");
    }

    #[tokio::test]
    async fn packets_are_lost_and_late_as_told() {
        let (network, a, b) = pair();
        let to_b = network.entrance("a", "b").unwrap();
        network.set_all(Path { loss: 1.0, ..Path::default() });
        a.send_to(b"1", to_b).await.unwrap();
        assert_eq!(receive(&b, NEVER).await, None);
        network.set("a", "b", Path { delay: NEVER, ..Path::default() });
        let begin = Instant::now();
        a.send_to(b"2", to_b).await.unwrap();
        assert_eq!(receive(&b, SOON).await.unwrap().0, b"2");
        assert!(begin.elapsed() >= NEVER);
    }
}
