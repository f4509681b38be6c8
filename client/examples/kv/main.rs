//! A replicated map: every member of a group holds the same map, because all apply the same commands in the same
//! order. Members come, go, crash, and meet again after a partition; `replica.rs` says how they then agree.
//!
//! ```sh
//! cargo run --example kv -- [GROUP] [--connect unix:PATH|tcp:HOST:PORT]
//! ```
//!
//! Commands on the standard input: `get KEY`, `set KEY VALUE`, `cas KEY OLD NEW` (set it only if it is still OLD),
//! `del KEY`, `dump`, `members`. It ends with the input.
#![expect(clippy::print_stdout, reason = "it shows what it does")]

mod replica;

use std::error::Error;
use std::io::BufRead;

use replica::{Action, Command, Input, Note, Replica};
use stentor_client::{Address, Connection, Event, Sender, Service};
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut group, mut address) = ("kv".to_owned(), None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--connect" => address = Some(args.next().ok_or("--connect needs an address")?.parse()?),
            _ => group = arg,
        }
    }
    let address = address.map_or_else(Address::from_env, Ok)?;
    let (sender, mut receiver) = Connection::connect(&address).await?.split();
    let mut replica = Replica::new(sender.member());
    // Not awaited: the replica begins with the membership event, at exactly its place in the order.
    drop(sender.join(&group)?);

    let mut lines = input();
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => {
                    if let Some(command) = interpret(&line, &replica) {
                        send(&sender, &group, Action::Multicast(Note::Command(command))).await?;
                    }
                }
                None => break,
            },
            event = receiver.recv() => {
                let input = match event? {
                    Some(Event::Message(message)) => {
                        let Ok(note) = postcard::from_bytes(&message.payload()) else {
                            println!("{} sends what is no command", message.sender());
                            continue;
                        };
                        if let Note::Command(command) = &note {
                            println!("{}: {command}", message.sender());
                        }
                        Input::Note(message.sender(), note)
                    }
                    Some(Event::Membership(view)) => {
                        println!("members: {:?}", view.members);
                        Input::Membership(*view)
                    }
                    Some(Event::Rejected { text, .. }) => return Err(text.into()),
                    Some(_) => continue,
                    None => break,
                };
                let was_ready = replica.is_ready();
                for action in replica.handle(input) {
                    send(&sender, &group, action).await?;
                }
                if !was_ready && replica.is_ready() {
                    println!("ready with {} keys", replica.entries().count());
                }
            }
        }
    }
    drop(receiver);
    sender.close().await?;
    Ok(())
}

/// Carries out a question; gives back a command, which everybody has to carry out.
fn interpret(line: &str, replica: &Replica) -> Option<Command> {
    let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["set", key, ..] if words.len() > 2 => {
            return Some(Command::Set { key: key.to_owned(), value: words[2..].join(" ") });
        }
        ["cas", key, old, new] => {
            return Some(Command::Swap { key: key.to_owned(), old: old.to_owned(), new: new.to_owned() });
        }
        ["del", key] => return Some(Command::Delete { key: key.to_owned() }),
        [] => {}
        _ if !replica.is_ready() => println!("not ready: waiting for the state"),
        ["get", key] => println!("{key} = {}", replica.get(key).unwrap_or("(nothing)")),
        ["dump"] => replica.entries().for_each(|(key, value)| println!("{key} = {value}")),
        ["members"] => println!("{:?}", replica.members()),
        _ => println!("get KEY | set KEY VALUE | cas KEY OLD NEW | del KEY | dump | members"),
    }
    None
}

async fn send(sender: &Sender, group: &str, action: Action) -> Result<(), Box<dyn Error>> {
    // All are in the one order, the private ones too: they keep their place among the sender's commands.
    match action {
        Action::Multicast(note) => {
            sender.multicast(&[group], Service::Agreed, postcard::to_allocvec(&note)?).await?;
        }
        Action::Send(member, note) => {
            sender.send_to(member, Service::Agreed, postcard::to_allocvec(&note)?).await?;
        }
    }
    Ok(())
}

/// The lines of standard input. A thread of its own reads them: such a read can not be given up.
fn input() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
