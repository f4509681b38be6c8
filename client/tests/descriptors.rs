//! A process that may open nothing more.

use std::os::unix::net::UnixStream;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stentor_client::wire::split;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

// Alone in its process: the limit is that of all its threads.
#[tokio::test]
async fn a_full_socket_takes_what_waits_also_if_the_process_has_no_descriptor_left() {
    let (one, other) = UnixStream::pair().unwrap();
    for socket in [&one, &other] {
        socket.set_nonblocking(true).unwrap();
    }
    let ((_read, mut write), (mut read, _write)) = (split(one).unwrap(), split(other).unwrap());
    let sent: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let mut got = vec![0; sent.len()];
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..before }).unwrap();
    let done = tokio::try_join!(write.write_all(&sent), read.read_exact(&mut got));
    let refused = UnixStream::pair().is_err();
    setrlimit(Resource::Nofile, before).unwrap();
    done.unwrap();
    assert!(got == sent, "it arrives whole and in order");
    assert!(refused, "the limit was none");
}
