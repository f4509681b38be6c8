//! The sending half against a daemon that takes its time.

mod support;

use std::pin::pin;
use std::time::{Duration, Instant};

use stentor_client::wire::{ClientFrame, DaemonFrame};
use stentor_client::{
    Cause, ContentError, Disconnected, GoodbyeCode, RefusalCode, RequestError, SendError, SendOptions,
    Sender, Service, TrySendError,
};
use support::{MAX_MESSAGE, fake_daemon, me, membership, soon, waits};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

/// Sends numbered messages until there is no room; says how many.
async fn fill(sender: &Sender) -> u64 {
    let mut count = 0;
    loop {
        match sender.try_multicast(&["g"], Service::Fifo, numbered(count)) {
            Ok(ordinal) => {
                assert_eq!(ordinal, count);
                count += 1;
            }
            Err(TrySendError::Full) => {
                // The writer may only have to run to make room.
                let mut next = Box::pin(sender.multicast(&["g"], Service::Fifo, numbered(count)));
                if waits(&mut next).await {
                    return count;
                }
                count += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn numbered(number: u64) -> [u8; 1000] {
    let mut payload = [0; 1000];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload
}

#[tokio::test]
async fn a_message_arrives_as_it_was_sent() {
    let daemon = fake_daemon();
    let (connection, mut peer) = daemon.pair().await;
    let (sender, _receiver) = connection.split();
    assert_eq!((sender.member(), sender.max_message()), (me(), MAX_MESSAGE));

    let options = SendOptions::new(Service::Safe).tag(7).discard_self();
    assert_eq!(sender.multicast(&["g", "#s#d"], options, "hello").await.unwrap(), 0);
    assert_eq!(sender.send_to(me(), Service::Causal, b"you").await.unwrap(), 1);

    let Some(ClientFrame::Multicast { service, discard_self, content }) = peer.recv().await else { panic!() };
    assert_eq!((service, discard_self), (Service::Safe, true));
    let content = stentor_client::Content::parse(content).unwrap();
    assert_eq!(content.targets().collect::<Vec<_>>(), ["g", "#s#d"]);
    assert_eq!((content.tag(), &content.payload()[..]), (7, b"hello".as_ref()));

    let Some(ClientFrame::Multicast { service, discard_self, content }) = peer.recv().await else { panic!() };
    assert_eq!((service, discard_self), (Service::Causal, false));
    assert_eq!(stentor_client::Content::parse(content).unwrap().targets().collect::<Vec<_>>(), ["#me#a"]);
}

#[tokio::test]
async fn a_full_buffer_waits_and_loses_nothing() {
    let daemon = fake_daemon();
    let (connection, mut peer) = daemon.pair().await;
    let (sender, _receiver) = connection.split();
    let count = fill(&sender).await;
    assert!(count > 256, "more than one buffer is taken: {count}");
    assert!(matches!(sender.try_multicast(&["g"], Service::Fifo, numbered(0)), Err(TrySendError::Full)));

    let mut last = Box::pin(sender.multicast(&["g"], Service::Fifo, numbered(count)));
    assert!(waits(&mut last).await);
    for number in 0..count {
        assert_eq!(peer.recv_payload().await, numbered(number)[..]);
        if number == count / 2 {
            assert_eq!(soon(&mut last).await.unwrap(), count, "room is given as the daemon reads");
        }
    }
    assert_eq!(peer.recv_payload().await, numbered(count)[..]);
    assert!(sender.try_multicast(&["g"], Service::Fifo, "again").is_ok());
}

#[tokio::test]
async fn who_gives_up_waiting_has_sent_nothing_and_holds_nobody_up() {
    let daemon = fake_daemon();
    let (connection, mut peer) = daemon.pair().await;
    let (sender, _receiver) = connection.split();
    let count = fill(&sender).await;

    let mut first = Box::pin(sender.multicast(&["g"], Service::Fifo, vec![1; 500_000]));
    let mut second = Box::pin(sender.multicast(&["g"], Service::Fifo, vec![2; 500_000]));
    let mut third = Box::pin(sender.multicast(&["g"], Service::Fifo, "third"));
    assert!(waits(&mut first).await && waits(&mut second).await && waits(&mut third).await);
    drop(first);
    drop(second);
    for number in 0..count {
        assert_eq!(peer.recv_payload().await, numbered(number)[..]);
    }
    assert_eq!(soon(third).await.unwrap(), count);
    assert_eq!(peer.recv_payload().await, "third");
}

#[tokio::test]
async fn a_large_message_gets_its_turn_among_small_ones() {
    let daemon = fake_daemon();
    let (connection, mut peer) = daemon.pair().await;
    let (sender, _receiver) = connection.split();
    let count = fill(&sender).await;
    let mut large = Box::pin(sender.multicast(&["g"], Service::Fifo, vec![9; 3 << 20]));
    assert!(waits(&mut large).await);
    // Behind the large one, small ones without end.
    let greedy = sender.clone();
    let task =
        tokio::spawn(async move { while greedy.multicast(&["g"], Service::Fifo, "small").await.is_ok() {} });

    let reading = async {
        let mut before = 0_u64;
        while peer.recv_payload().await.len() != 3 << 20 {
            before += 1;
        }
        before
    };
    let (before, ordinal) = tokio::join!(reading, soon(&mut large));
    assert_eq!(before, ordinal.unwrap());
    assert!(before < count + 1000, "{before} small ones went before it");
    task.abort();
}

#[tokio::test]
async fn many_small_sends_share_a_write() {
    for waiting in [false, true] {
        let daemon = fake_daemon();
        let (connection, mut peer) = daemon.pair().await;
        let reading = tokio::spawn(async move {
            let mut first = Vec::with_capacity(100_000);
            soon(peer.socket.read_buf(&mut first)).await.unwrap();
            (first.len(), peer)
        });
        for _ in 0..1000 {
            if waiting {
                connection.sender.multicast(&["g"], Service::Fifo, "0123456789").await.unwrap();
            } else {
                connection.sender.try_multicast(&["g"], Service::Fifo, "0123456789").unwrap();
            }
        }
        let (first, _peer) = reading.await.unwrap();
        assert!(first > 10_000, "the first write holds {first} bytes, waiting: {waiting}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_always_has_room_lets_others_run() {
    let daemon = fake_daemon();
    let (connection, peer) = daemon.pair().await;
    let mut socket = peer.socket;
    let reading = tokio::spawn(async move {
        let mut read = vec![0; 1 << 20];
        while socket.read(&mut read).await.is_ok_and(|bytes| bytes > 0) {}
    });
    let begun = Instant::now();
    let endless = async {
        // Other threads write and read meanwhile: so slowly, there is always room.
        while begun.elapsed() < Duration::from_secs(10) {
            connection.sender.multicast(&["g"], Service::Fifo, "x").await.unwrap();
            let sent = Instant::now();
            while sent.elapsed() < Duration::from_micros(20) {}
        }
    };
    assert!(timeout(Duration::from_millis(50), endless).await.is_err(), "the time was never looked at");
    reading.abort();
}

#[tokio::test]
async fn what_can_not_be_sent_is_refused_before_anything_is_sent() {
    let daemon = fake_daemon();
    let (connection, mut peer) = daemon.pair().await;
    let sender = connection.sender;
    let none: [&str; 0] = [];
    let error = sender.multicast(&none, Service::Agreed, "x").await.unwrap_err();
    assert!(matches!(error, SendError::Content(ContentError::Targets(0))), "{error}");
    let error = sender.multicast(&["#bad"], Service::Agreed, "x").await.unwrap_err();
    assert!(matches!(error, SendError::Content(ContentError::Name(_))), "{error}");
    let error = sender.multicast(&["g"], Service::Agreed, vec![0; MAX_MESSAGE]).await.unwrap_err();
    assert!(error.to_string().contains("4194304") && error.to_string().contains("4194309"), "{error}");
    assert!(matches!(sender.join(""), Err(RequestError::Name(_))));

    assert_eq!(sender.multicast(&["g"], Service::Agreed, "good").await.unwrap(), 0);
    assert_eq!(peer.recv_payload().await, "good");
}

#[tokio::test]
async fn close_sends_everything_and_waits_for_the_daemon() {
    let daemon = fake_daemon();
    let (connection, mut peer) = daemon.pair().await;
    let (sender, mut receiver) = connection.split();
    let count = fill(&sender).await;
    let waiting = sender.clone();
    let mut waiting = Box::pin(waiting.multicast(&["g"], Service::Fifo, numbered(count)));
    assert!(waits(&mut waiting).await);

    let mut closing = Box::pin(sender.close());
    assert!(waits(&mut closing).await);
    let error = soon(&mut waiting).await.unwrap_err();
    assert!(matches!(error, SendError::Disconnected(Disconnected::Closed)), "{error}");
    assert!(matches!(sender.join("g"), Err(RequestError::Disconnected(Disconnected::Closed))));

    for number in 0..count {
        assert_eq!(peer.recv_payload().await, numbered(number)[..]);
    }
    assert_eq!(peer.recv().await, Some(ClientFrame::Goodbye));
    assert!(waits(&mut closing).await, "the daemon has not confirmed yet");
    peer.confirm().await;
    soon(closing).await.unwrap();
    soon(sender.close()).await.unwrap();
    assert!(soon(receiver.recv()).await.unwrap().is_none());
}

#[tokio::test]
async fn dropping_everything_still_sends_what_was_accepted() {
    let daemon = fake_daemon();
    let (connection, mut peer) = daemon.pair().await;
    let clone = connection.sender.clone();
    let count = fill(&connection.sender).await;
    drop(connection);
    assert!(matches!(clone.try_multicast(&["g"], Service::Fifo, numbered(count)), Err(TrySendError::Full)));
    drop(clone);
    for number in 0..count {
        assert_eq!(peer.recv_payload().await, numbered(number)[..]);
    }
    assert_eq!(peer.recv().await, Some(ClientFrame::Goodbye));
    peer.confirm().await;
    assert_eq!(peer.recv().await, None);
}

#[tokio::test]
async fn joins_and_leaves_resolve_when_they_are_effective() {
    let daemon = fake_daemon();
    let (connection, mut peer) = daemon.pair().await;
    let (sender, _receiver) = connection.split();
    let mut join = sender.join("g").unwrap();
    let again = sender.join("g").unwrap();
    let other = sender.join("h").unwrap();
    drop(other);
    let leave = sender.leave("g").unwrap();
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let Some(ClientFrame::Join { request, .. }) = peer.recv().await else { panic!() };
        numbers.push(request);
    }
    assert!(matches!(peer.recv().await, Some(ClientFrame::Leave { .. })));

    // A refusal names its request; somebody else's join is no answer.
    let (code, text) = (RefusalCode::AlreadyMember, "already a member of group g".to_owned());
    peer.send(&DaemonFrame::Failed { request: numbers[1], code, text }).await;
    let error = soon(again).await.unwrap_err();
    assert!(matches!(error, RequestError::Refused { code: RefusalCode::AlreadyMember, .. }), "{error}");
    let mut somebody = me();
    somebody.session = stentor_client::SessionName::new("other").unwrap();
    peer.send(&membership("g", Cause::Join(somebody))).await;
    assert!(waits(&mut join).await);

    peer.send(&membership("g", Cause::Join(me()))).await;
    peer.send(&membership("h", Cause::Join(me()))).await;
    peer.send(&membership("g", Cause::Leave(me()))).await;
    assert_eq!(soon(join).await.unwrap().members[..], [me()]);
    assert_eq!(soon(leave).await.unwrap().cause, Cause::Leave(me()));
}

#[tokio::test]
async fn lists_are_read_to_their_end() {
    let daemon = fake_daemon();
    let (connection, mut peer) = daemon.pair().await;
    let (sender, _receiver) = connection.split();
    let name = |text: &str| stentor_client::GroupName::new(text).unwrap();
    let answering = async {
        for (expected, groups, more) in [
            (None, vec![(name("a"), 1), (name("b"), 2)], true),
            (Some(name("b")), vec![(name("c"), 3)], false),
        ] {
            let Some(ClientFrame::ListGroups { request, after }) = peer.recv().await else { panic!() };
            assert_eq!(after, expected);
            peer.send(&DaemonFrame::Groups { request, groups, more }).await;
        }
        let Some(ClientFrame::ListMembers { request, group }) = peer.recv().await else { panic!() };
        assert_eq!(group, name("a"));
        peer.send(&DaemonFrame::Members { request, members: [me()].into() }).await;
    };
    let asking = async {
        let groups = soon(sender.groups()).await.unwrap();
        assert_eq!(groups, [(name("a"), 1), (name("b"), 2), (name("c"), 3)]);
        assert_eq!(soon(sender.members("a")).await.unwrap()[..], [me()]);
    };
    tokio::join!(answering, asking);
}

#[tokio::test]
async fn requests_are_bounded() {
    let daemon = fake_daemon();
    let (connection, _peer) = daemon.pair().await;
    let mut count = 0;
    let error = loop {
        match connection.sender.join("g") {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, RequestError::TooMany(limit) if limit == count), "{error}");
}

#[tokio::test]
async fn the_reason_of_the_end_reaches_everybody() {
    let daemon = fake_daemon();
    let (connection, mut peer) = daemon.pair().await;
    let (sender, mut receiver) = connection.split();
    fill(&sender).await;
    let join = sender.join("g").unwrap();
    let waiting = sender.multicast(&["g"], Service::Fifo, numbered(0));
    let ending = async {
        let text = "8 MiB are waiting for #me#a".to_owned();
        peer.send(&DaemonFrame::Goodbye { code: GoodbyeCode::TooSlow, text }).await;
        drop(peer);
    };
    let (sent, joined, received, ()) =
        soon(async { tokio::join!(waiting, join, receiver.recv(), ending) }).await;
    let later = sender.multicast(&["g"], Service::Fifo, "x").await;
    for text in [
        sent.unwrap_err().to_string(),
        joined.unwrap_err().to_string(),
        received.unwrap_err().to_string(),
        later.unwrap_err().to_string(),
        sender.try_multicast(&["g"], Service::Fifo, "x").unwrap_err().to_string(),
        sender.close().await.unwrap_err().to_string(),
        sender.groups().await.unwrap_err().to_string(),
    ] {
        assert!(text.contains("8 MiB are waiting") && text.contains("connect again"), "{text}");
    }
}

#[tokio::test]
async fn a_future_of_a_send_may_move_between_threads() {
    fn check<T: Send>(_: &T) {}
    let daemon = fake_daemon();
    let (connection, _peer) = daemon.pair().await;
    let sending = pin!(connection.sender.multicast(&["g"], Service::Fifo, "x"));
    check(&sending);
    check(&connection.receiver);
}
