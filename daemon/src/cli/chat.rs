//! `stentor chat`: lines of people to a group, and what others write.

use std::io::IsTerminal;

use clap::Args;
use stentor_client::{Disconnected, GroupName, Receiver, SendOptions, Sender, Service};

use super::input::Input;
use super::output::{Output, Style, text_line};
use super::session::{SessionArgs, stop};

#[derive(Args, Debug)]
#[command(after_help = "Each line goes to the group; /members says who is there, /quit or Ctrl-D ends.")]
pub(crate) struct ChatArgs {
    /// The group to talk in.
    group: GroupName,
    #[command(flatten)]
    session: SessionArgs,
}

pub(crate) async fn run(args: ChatArgs) -> anyhow::Result<()> {
    let (sender, mut receiver) = args.session.open().await?.split();
    let mut chat = Chat { group: args.group, output: Output::start()?, style: Style::of_stdout() };
    let end = tokio::select! {
        end = chat.talk(&sender, &mut receiver) => end,
        end = stop() => end,
    };
    chat.output.finish().await?;
    end?;
    drop(receiver);
    Ok(sender.close().await?)
}

struct Chat {
    group: GroupName,
    output: Output,
    style: Style,
}

impl Chat {
    async fn talk(&mut self, sender: &Sender, receiver: &mut Receiver) -> anyhow::Result<()> {
        let group = self.group.as_str();
        sender.join(group)?.await?;
        self.say(&format!("* you are {} in {group}; /members, /quit", sender.member()));
        let mut options = SendOptions::new(Service::Agreed);
        if std::io::stdin().is_terminal() {
            // The line is on the screen already.
            options = options.discard_self();
        }
        let mut input = Input::start()?;
        while self.output.flush().await {
            tokio::select! {
                line = input.next_line(sender.max_message()) => match line?.as_deref() {
                    None | Some(b"/quit") => break,
                    Some(b"") => {}
                    Some(b"/members") => {
                        let members = sender.members(self.group.as_str()).await?;
                        members.iter().for_each(|member| self.say(&format!("* {member}")));
                    }
                    Some(line) => drop(sender.multicast(&[self.group.as_str()], options, line).await?),
                },
                event = receiver.recv() => match event? {
                    Some(event) => self.print(&text_line(&event, self.style)),
                    None => return Err(Disconnected::Closed.into()),
                },
                () = self.output.closed() => break,
            }
        }
        Ok(())
    }

    fn say(&mut self, text: &str) {
        let line = self.style.dim(text).to_string();
        self.print(&line);
    }

    fn print(&mut self, line: &str) {
        self.output.piece().extend_from_slice(line.as_bytes());
        self.output.piece().push(b'\n');
    }
}
