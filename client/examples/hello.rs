//! The shortest program: joins a group, greets it, prints what it sees until its own greeting is back, and leaves.
//!
//! ```sh
//! cargo run --example hello -- [--connect unix:PATH|tcp:HOST:PORT]
//! ```
#![expect(clippy::print_stdout, reason = "it shows what it sees")]

use std::error::Error;

use stentor_client::{Address, Connection, Event, Service};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = match std::env::args().skip_while(|arg| arg != "--connect").nth(1) {
        Some(address) => address.parse()?,
        None => Address::from_env()?,
    };
    let (sender, mut receiver) = Connection::connect(&address).await?.split();
    println!("connected as {}", sender.member());

    // The second `await` is over when the join is effective: nothing sent from then on is missed.
    let view = sender.join("hello")?.await?;
    println!("in group {} with {:?}", view.group, view.members);
    sender.multicast(&["hello"], Service::Agreed, format!("hello from {}", sender.member())).await?;

    while let Some(event) = receiver.recv().await? {
        match event {
            Event::Message(message) => {
                println!("{}: {}", message.sender(), String::from_utf8_lossy(&message.payload()));
                if message.sender() == sender.member() {
                    break;
                }
            }
            Event::Membership(view) => println!("members of {}: {:?}", view.group, view.members),
            Event::Transitional { group } => println!("daemons were lost; {group} has a new view soon"),
            Event::Rejected { text, .. } => return Err(text.into()),
            _ => {}
        }
    }
    sender.close().await?;
    Ok(())
}
