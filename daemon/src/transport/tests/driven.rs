//! A transport with the driver behind it, and peers that link.

use quinn::SendStream;

use super::*;
use crate::driver::{self, Driver};

struct Driven {
    transport: Transport,
    board: Board,
    metrics: Metrics,
}

fn driven(settings: Settings) -> Driven {
    let (sender, receiver) = mpsc::channel(64);
    let (board, metrics) = (Board::default(), settings.metrics.clone());
    let driver = Driver::new(driver::Settings {
        id: settings.own,
        seed: 1,
        membership: stentor_membership::Config::default(),
        configured: Vec::new(),
        session_queue_out: 1 << 20,
        aliases: crate::spread::names::Aliases::default(),
        board: board.clone(),
        metrics: metrics.clone(),
    });
    tokio::spawn(driver.unwrap().run(receiver));
    let transport = Transport::start(settings, board.clone(), sender).unwrap();
    Driven { transport, board, metrics }
}

/// A peer a that has introduced itself, and has its answer.
async fn linked(dir: &Path, target: SocketAddr, incarnation: u64) -> (Endpoint, Connection, SendStream) {
    let (endpoint, connection) = rogue(dir, "a", target).await;
    let mut stream = connection.open_uni().await.unwrap();
    let hello = Hello { cluster: "test".to_owned(), daemon: id("a", incarnation) }.encode().unwrap();
    stream.write_all(&framed(&hello)).await.unwrap();
    tokio::time::timeout(LIMIT, connection.accept_uni()).await.unwrap().unwrap();
    (endpoint, connection, stream)
}

/// Waits until something was counted so often.
async fn counted(metrics: &Metrics, count: Count, times: u64) {
    let until = Instant::now() + LIMIT;
    while metrics.get(count) < times {
        assert!(Instant::now() < until, "{count:?} {times}: {metrics:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_peer_that_sends_garbage_after_its_hello_is_cut_off_and_may_come_back_better() {
    let dir = cluster();
    let b = driven(settings(dir.path(), id("b", 2), any_port(), None));
    let target = b.transport.address().unwrap();
    for garbage in [framed(&[0xff; 40]), framed(&[])] {
        let (_endpoint, connection, mut stream) = linked(dir.path(), target, 1).await;
        stream.write_all(&garbage).await.unwrap();
        closed(&connection, "malformed frame").await;
    }
    assert!(b.board.about(Some(id("a", 1).name)).unwrap().contains("malformed frame"));
    let (_endpoint, connection, _stream) = linked(dir.path(), target, 1).await;
    counted(&b.metrics, Count::links_up, 3).await;
    assert!(connection.close_reason().is_none());
}

#[tokio::test]
async fn a_newer_link_takes_the_place_of_the_one_before() {
    let dir = cluster();
    let b = driven(settings(dir.path(), id("b", 2), any_port(), None));
    let target = b.transport.address().unwrap();
    // Twice the same daemon, which has lost its end, then a new run of it.
    let (_one, first, _stream_one) = linked(dir.path(), target, 1).await;
    counted(&b.metrics, Count::links_up, 1).await;
    let (_two, second, _stream_two) = linked(dir.path(), target, 1).await;
    closed(&first, "a newer link took its place").await;
    counted(&b.metrics, Count::links_up, 2).await;
    let (_three, third, _stream_three) = linked(dir.path(), target, 2).await;
    closed(&second, "a newer link took its place").await;
    counted(&b.metrics, Count::links_up, 3).await;
    assert!(third.close_reason().is_none());
    assert_eq!((b.metrics.get(Count::links_down), b.metrics.get(Count::links_cut_full)), (2, 0));
}

#[tokio::test]
async fn a_link_is_cut_when_more_waits_for_the_peer_than_may() {
    let dir = cluster();
    // Less than what a daemon says about itself at first.
    let settings = Settings { queue_limit: 8, ..settings(dir.path(), id("b", 2), any_port(), None) };
    let b = driven(settings);
    let target = b.transport.address().unwrap();
    for times in 1..3 {
        let (_endpoint, connection, _stream) = linked(dir.path(), target, times).await;
        closed(&connection, "too much waits for you").await;
        counted(&b.metrics, Count::links_cut_full, times).await;
    }
}
