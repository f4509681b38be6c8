//! The receiving half, and how connections begin and end.

mod support;

use std::time::Duration;

use bytes::BytesMut;
use futures_core::Stream;
use stentor_client::wire::{ClientFrame, DaemonFrame};
use stentor_client::{
    Address, Cause, ConnectError, Connection, Disconnected, Event, GoodbyeCode, RefusalCode, Service,
    TryRecvError,
};
use support::{encoded, fake_daemon, me, membership, message, soon, waits, welcome};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

#[tokio::test]
async fn events_come_in_order_however_the_bytes_come() {
    let daemon = fake_daemon();
    let (connection, mut peer) = daemon.pair().await;
    let (sender, mut receiver) = connection.split();
    let group = stentor_client::GroupName::new("g").unwrap();
    let mut stream = BytesMut::new();
    stream.unsplit(encoded(&membership("g", Cause::Join(me()))));
    stream.unsplit(encoded(&message(b"one")));
    stream.unsplit(encoded(&DaemonFrame::Transitional { group }));
    stream.unsplit(encoded(&DaemonFrame::Rejected {
        ordinal: 3,
        code: RefusalCode::NotPrimary,
        text: "no majority".to_owned(),
    }));
    stream.unsplit(encoded(&message(b"two")));
    let writing = async {
        for byte in stream {
            peer.socket.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let join = sender.join("g").unwrap();
    let reading = async {
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(receiver.recv().await.unwrap().unwrap());
        }
        seen
    };
    let (seen, joined, ()) = soon(async { tokio::join!(reading, join, writing) }).await;
    assert!(joined.is_ok());
    let [
        Event::Membership(view),
        Event::Message(one),
        Event::Transitional { .. },
        Event::Rejected { .. },
        Event::Message(two),
    ] = &seen[..]
    else {
        panic!("{seen:?}")
    };
    assert_eq!(view.members[..], [me()]);
    assert_eq!((&one.payload()[..], &two.payload()[..]), (b"one".as_ref(), b"two".as_ref()));
    assert_eq!((one.sender(), one.service(), one.tag()), (me(), Service::Agreed, 0));
    assert_eq!(one.groups().collect::<Vec<_>>(), ["g"]);
    assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
}

#[tokio::test]
async fn a_program_that_does_not_receive_is_not_read_and_loses_nothing() {
    let daemon = fake_daemon();
    let (connection, mut peer) = daemon.pair().await;
    let (_sender, mut receiver) = connection.split();
    let payload = |number: u32| {
        let mut payload = vec![0; 10_000];
        payload[..4].copy_from_slice(&number.to_le_bytes());
        payload
    };
    // The socket fills up: the client takes a bounded amount.
    let mut sent = 0;
    let mut rest = BytesMut::new();
    loop {
        if rest.is_empty() {
            rest = encoded(&message(&payload(sent)));
            sent += 1;
        }
        let mut writing = Box::pin(peer.socket.write_buf(&mut rest));
        if waits(&mut writing).await {
            break;
        }
        assert!(sent < 1000, "10 MB and it still reads");
    }
    let finishing = async {
        peer.socket.write_all_buf(&mut rest).await.unwrap();
        peer.socket.write_all(&encoded(&message(b"last"))).await.unwrap();
    };
    let reading = async {
        for number in 0..sent {
            let Some(Event::Message(message)) = receiver.recv().await.unwrap() else { panic!() };
            assert_eq!(message.payload(), payload(number));
        }
        let Some(Event::Message(message)) = receiver.recv().await.unwrap() else { panic!() };
        assert_eq!(message.payload(), "last");
    };
    soon(async { tokio::join!(finishing, reading) }).await;
}

#[tokio::test]
async fn a_message_larger_than_the_inbox_is_received() {
    let daemon = fake_daemon();
    let (mut connection, mut peer) = daemon.pair().await;
    let large = vec![7; 3 << 20];
    let sending = async {
        for _ in 0..3 {
            peer.send(&message(&large)).await;
        }
    };
    let reading = async {
        for _ in 0..3 {
            let Ok(Some(Event::Message(message))) = connection.receiver.recv().await else { panic!() };
            assert_eq!(message.payload(), large);
        }
    };
    soon(async { tokio::join!(sending, reading) }).await;
}

#[tokio::test]
async fn without_a_receiver_requests_are_still_answered() {
    let daemon = fake_daemon();
    let (connection, mut peer) = daemon.pair().await;
    let (sender, receiver) = connection.split();
    let join = sender.join("g").unwrap();
    drop(receiver);
    let sending = async {
        for _ in 0..400 {
            peer.send(&message(&[0; 10_000])).await;
        }
        peer.send(&membership("g", Cause::Join(me()))).await;
        while peer.recv().await != Some(ClientFrame::Goodbye) {}
        peer.confirm().await;
    };
    let closing = async {
        join.await.unwrap();
        sender.close().await.unwrap();
    };
    soon(async { tokio::join!(sending, closing) }).await;
}

#[tokio::test]
async fn the_stream_ends_behind_its_reason() {
    let daemon = fake_daemon();
    let (connection, mut peer) = daemon.pair().await;
    let (_sender, mut receiver) = connection.split();
    peer.send(&message(b"last")).await;
    drop(peer);
    let mut next =
        async || soon(std::future::poll_fn(|cx| std::pin::Pin::new(&mut receiver).poll_next(cx))).await;
    assert!(matches!(next().await, Some(Ok(Event::Message(_)))));
    assert!(matches!(next().await, Some(Err(Disconnected::Lost(_)))));
    assert!(next().await.is_none());
    let again = receiver.recv().await.unwrap_err().to_string();
    assert!(again.contains("without a goodbye") && again.contains("connect again"), "{again}");
    assert!(matches!(receiver.try_recv(), Err(TryRecvError::Disconnected(_))));
}

#[tokio::test]
async fn a_daemon_that_breaks_the_protocol_is_left() {
    let daemon = fake_daemon();
    for garbage in [&[0xff; 100][..], &[2, 0, 0, 0, 0xff, 0xff], &encoded(&welcome())] {
        let (connection, mut peer) = daemon.pair().await;
        let (_sender, mut receiver) = connection.split();
        peer.socket.write_all(&encoded(&message(b"good"))).await.unwrap();
        peer.socket.write_all(garbage).await.unwrap();
        assert!(matches!(soon(receiver.recv()).await, Ok(Some(Event::Message(_)))));
        let error = soon(receiver.recv()).await.unwrap_err();
        assert!(matches!(error, Disconnected::Protocol(_)), "{error}");
        while peer.recv().await.is_some() {}
    }
}

#[tokio::test]
async fn a_bad_message_ends_the_connection_where_it_stands() {
    let daemon = fake_daemon();
    let (connection, mut peer) = daemon.pair().await;
    let (sender, mut receiver) = connection.split();
    let mut stream = encoded(&message(b"good"));
    // A message without a sender, between good ones.
    stream.extend_from_slice(&[2, 0, 0, 0, 2, 0xff]);
    stream.unsplit(encoded(&message(b"behind it")));
    peer.socket.write_all(&stream).await.unwrap();
    assert!(matches!(soon(receiver.recv()).await, Ok(Some(Event::Message(_)))));
    for _ in 0..2 {
        let error = soon(receiver.recv()).await.unwrap_err();
        assert!(matches!(error, Disconnected::Protocol(_)), "{error}");
        let error = receiver.try_recv().unwrap_err();
        assert!(matches!(error, TryRecvError::Disconnected(Disconnected::Protocol(_))), "{error}");
    }
    let error = sender.multicast(&["g"], Service::Fifo, "x").await.unwrap_err();
    assert!(error.to_string().contains("not a frame of a daemon"), "{error}");
    while peer.recv().await.is_some() {}
}

#[tokio::test]
async fn the_last_words_are_found_behind_a_full_inbox() {
    let daemon = fake_daemon();
    let (connection, mut peer) = daemon.pair().await;
    let (sender, mut receiver) = connection.split();
    // More than the inbox takes, so that the reader waits for the program.
    let mut stream = BytesMut::new();
    for _ in 0..108 {
        stream.unsplit(encoded(&message(&[1; 10_000])));
    }
    let text = "shutting down".to_owned();
    stream.unsplit(encoded(&DaemonFrame::Goodbye { code: GoodbyeCode::ShuttingDown, text }));
    soon(peer.socket.write_all(&stream)).await.unwrap();
    drop(peer);
    // The program does not receive; it finds out by sending.
    let error = soon(async {
        loop {
            if let Err(error) = sender.multicast(&["g"], Service::Fifo, "x").await {
                break error;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(error.to_string().contains("broke") || error.to_string().contains("shutting down"), "{error}");
    for _ in 0..108 {
        assert!(matches!(soon(receiver.recv()).await, Ok(Some(Event::Message(_)))));
    }
    let error = soon(receiver.recv()).await.unwrap_err().to_string();
    assert!(error.contains("shutting down") && error.contains("another daemon"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn closing_is_given_up_when_the_program_does_not_receive() {
    let daemon = fake_daemon();
    let (connection, accepted) = tokio::join!(Connection::connect(&daemon.address), daemon.welcome());
    let (sender, receiver) = connection.unwrap().split();
    let mut peer = accepted;
    let mut stream = BytesMut::new();
    for _ in 0..400 {
        stream.unsplit(encoded(&message(&[1; 10_000])));
    }
    let flood = async { peer.socket.write_all(&stream).await };
    let (closed, _) = tokio::join!(sender.close(), flood);
    let error = closed.unwrap_err();
    assert!(matches!(error, Disconnected::NotReceiving(_)), "{error}");
    drop(receiver);
}

#[tokio::test]
async fn a_refusal_says_why() {
    let daemon = fake_daemon();
    let builder = Connection::builder().name("me").unwrap();
    let refusing = async {
        let mut peer = daemon.greet().await;
        let text = "session name me is taken".to_owned();
        peer.send(&DaemonFrame::Goodbye { code: GoodbyeCode::NameTaken, text }).await;
    };
    let (refused, ()) = soon(async { tokio::join!(builder.connect(&daemon.address), refusing) }).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { code: GoodbyeCode::NameTaken, .. }), "{error}");
    assert!(error.to_string().contains("session name me is taken"), "{error}");
    assert!(Connection::builder().name("a#b").is_err());
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let address = Address::Unix(directory.path().join("none"));
    let error = soon(Connection::connect(&address)).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{text}");
    assert!(text.contains(&address.to_string()) && text.contains("stentor daemon"), "{text}");

    let daemon = fake_daemon();
    let silent = Connection::builder().timeout(Duration::from_millis(50));
    let error = soon(silent.connect(&daemon.address)).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
    drop(daemon.accept().await);

    let stranger = async {
        let mut socket = daemon.accept().await;
        drop(daemon.accept().await);
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        socket
    };
    let connecting =
        async { tokio::join!(Connection::connect(&daemon.address), Connection::connect(&daemon.address)) };
    let ((one, two), _socket) = soon(async { tokio::join!(connecting, stranger) }).await;
    let mut errors = [one.unwrap_err().to_string(), two.unwrap_err().to_string()];
    errors.sort();
    assert!(errors[1].contains("does not answer like a Stentor daemon"), "{errors:?}");
    assert!(errors[0].contains("without a word"), "{errors:?}");
}

#[tokio::test]
async fn tcp_works_like_a_unix_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let address: Address = format!("tcp:localhost:{port}").parse().unwrap();
    let serving = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(&encoded(&welcome())).await.unwrap();
        socket.write_all(&encoded(&message(b"hello"))).await.unwrap();
        socket
    };
    let (connection, _socket) = soon(async { tokio::join!(Connection::connect(&address), serving) }).await;
    let Ok(Some(Event::Message(message))) = soon(connection.unwrap().receiver.recv()).await else { panic!() };
    assert_eq!(message.payload(), "hello");
}
