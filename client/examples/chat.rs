//! A chat: lines of the input go to a group, everybody sees all lines in the same order, and who comes and goes.
//!
//! ```sh
//! cargo run --example chat -- [GROUP] [--name NAME] [--connect unix:PATH|tcp:HOST:PORT]
//! ```
#![expect(clippy::print_stdout, reason = "it shows what it sees")]

use std::error::Error;
use std::io::BufRead;

use stentor_client::{Address, Cause, Connection, Event, SendOptions, Service};
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut group, mut builder, mut address) = ("chat".to_owned(), Connection::builder(), None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--connect" => address = Some(args.next().ok_or("--connect needs an address")?.parse()?),
            "--name" => builder = builder.name(&args.next().ok_or("--name needs a name")?)?,
            _ => group = arg,
        }
    }
    let address = address.map_or_else(Address::from_env, Ok)?;
    let (sender, mut receiver) = builder.connect(&address).await?.split();
    sender.join(&group)?.await?;
    println!("you are {} in {group}; end with Ctrl-D", sender.member());

    let mut lines = input();
    // What one types is on the screen already.
    let options = SendOptions::new(Service::Agreed).discard_self();
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => drop(sender.multicast(&[&group], options, line).await?),
                None => break,
            },
            event = receiver.recv() => match event? {
                Some(event) => show(&event),
                None => break,
            },
        }
    }
    drop(receiver);
    sender.close().await?;
    Ok(())
}

fn show(event: &Event) {
    match event {
        Event::Message(message) => {
            println!("{}: {}", message.sender(), String::from_utf8_lossy(&message.payload()));
        }
        Event::Membership(view) => match view.cause {
            Cause::Join(who) => println!("* {who} joined; {} here", view.members.len()),
            Cause::Leave(who) => println!("* {who} left; {} here", view.members.len()),
            Cause::Disconnect(who) => println!("* {who} is gone; {} here", view.members.len()),
            Cause::Network => println!("* the network changed; here are now {:?}", view.members),
        },
        Event::Rejected { text, .. } => println!("* not sent: {text}"),
        _ => {}
    }
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
