//! `stentor send`: one message from the command line or a file, or one for each line of input.

use anyhow::{Context, anyhow};
use clap::Args;
use clap::error::ErrorKind;
use stentor_client::{Event, Receiver, SendError, SendOptions, Sender, Service, Target};

use super::input::Input;
use super::session::{SessionArgs, stop};

#[derive(Args, Debug)]
#[command(
    override_usage = "stentor send [OPTIONS] GROUP... TEXT\n       stentor send [OPTIONS] GROUP < FILE\n       \
    stentor send [OPTIONS] --lines GROUP... < FILE",
    after_help = "Without --lines, the last of several words is the text; \"-\" stands for the standard input, as \
    does nothing behind a single group. A group may also be a session, written '#name#daemon'.\n\n\
    Exit code 0 means that the daemon has accepted all of it.\n\n\
    Examples:\n  stentor send chat 'hello there'\n  stentor send news chat - < notice.txt\n  \
    tail -f log | stentor send --lines log --service fifo"
)]
pub(crate) struct SendArgs {
    /// The destinations; without --lines, then the text.
    #[arg(required = true, value_name = "GROUP... [TEXT]")]
    words: Vec<String>,
    /// What is promised for it: unreliable, reliable, fifo, causal, agreed or safe.
    #[arg(long, value_name = "SERVICE", default_value_t)]
    service: Service,
    /// A number from 0 to 65535 that goes with it.
    #[arg(long, value_name = "N", default_value_t)]
    tag: u16,
    /// Send each line of the standard input as a message, without its end.
    #[arg(long)]
    lines: bool,
    #[command(flatten)]
    session: SessionArgs,
}

impl SendArgs {
    /// Parts the words into destinations and text; no text stands for the standard input.
    fn part(&self) -> Result<(Vec<String>, Option<&str>), clap::Error> {
        let (groups, text) = match self.words.as_slice() {
            words if self.lines => (words, None),
            [groups @ .., text] if !groups.is_empty() => {
                (groups, Some(text.as_str()).filter(|text| *text != "-"))
            }
            words => (words, None),
        };
        for group in groups {
            Target::parse(group).map_err(|error| {
                let text = format!("{group:?} is neither a group nor a session #name#daemon: {error}\n");
                clap::Error::raw(ErrorKind::ValueValidation, text)
            })?;
        }
        Ok((groups.to_vec(), text))
    }
}

pub(crate) async fn run(args: SendArgs) -> anyhow::Result<()> {
    let (groups, text) = args.part().unwrap_or_else(|error| error.exit());
    let (sender, receiver) = args.session.open().await?.split();
    // It stays with the connection: what the daemon refuses comes as an event.
    let refused = tokio::spawn(first_refusal(receiver));
    let options = SendOptions::new(args.service).tag(args.tag);
    let sending = async {
        match text {
            Some(text) => drop(sender.multicast(&groups, options, text).await?),
            None if args.lines => {
                send_lines(&sender, &groups, options, || refused.is_finished()).await?;
            }
            None => {
                let message = Input::start()?.read_all(sender.max_message()).await?;
                sender.multicast(&groups, options, message).await?;
            }
        }
        anyhow::Ok(())
    };
    let sent = tokio::select! {
        sent = sending => sent,
        stopped = stop() => stopped.and(Err(anyhow!("stopped by a signal: the rest was not sent"))),
    };
    // What was accepted before an error still arrives.
    let closed = sender.close().await;
    sent?;
    if let Some((ordinal, text)) = refused.await.context("cannot tell whether all was accepted")? {
        let what = if args.lines { format!("line {}", ordinal + 1) } else { "the message".to_owned() };
        return Err(anyhow!("the daemon refused {what}: {text}"));
    }
    Ok(closed?)
}

async fn send_lines(
    sender: &Sender,
    groups: &[String],
    options: SendOptions,
    is_refused: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let mut input = Input::start()?;
    let mut number = 0_u64;
    // After a refusal the next ones are refused as well, most likely: the first one is reported.
    while !is_refused() {
        number += 1;
        let line = input.next_line(sender.max_message()).await.with_context(|| format!("line {number}"))?;
        let Some(line) = line else { break };
        match sender.multicast(groups, options, line).await {
            Ok(_) => {}
            Err(error @ SendError::Disconnected(_)) => return Err(error.into()),
            Err(error) => return Err(error).with_context(|| format!("line {number}")),
        }
    }
    Ok(())
}

/// Receives until the connection ends: the ordinal of the first message that was refused, and why.
async fn first_refusal(mut receiver: Receiver) -> Option<(u64, String)> {
    // Whoever sends finds out by itself why the connection ended.
    while let Ok(Some(event)) = receiver.recv().await {
        if let Event::Rejected { ordinal, text, .. } = event {
            return Some((ordinal, text));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        send: SendArgs,
    }

    fn parts(words: &[&str]) -> Result<(Vec<String>, Option<String>), clap::Error> {
        let line = Line::try_parse_from([&["send"], words].concat())?;
        line.send.part().map(|(groups, text)| (groups, text.map(str::to_owned)))
    }

    #[test]
    fn the_last_word_is_the_text_unless_lines_are_sent() {
        let groups = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(parts(&["g"]).unwrap(), (groups(&["g"]), None));
        assert_eq!(parts(&["g", "hello"]).unwrap(), (groups(&["g"]), Some("hello".to_owned())));
        assert_eq!(parts(&["g", "#s#d", "-"]).unwrap(), (groups(&["g", "#s#d"]), None));
        assert_eq!(parts(&["--lines", "g", "h"]).unwrap(), (groups(&["g", "h"]), None));
        let error = parts(&["#g", "hello"]).unwrap_err().to_string();
        assert!(error.contains("\"#g\" is neither a group nor a session #name#daemon"), "{error}");
        assert!(parts(&["g", "x", "--service", "best"]).is_err());
    }
}
