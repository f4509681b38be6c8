//! `stentor join`: prints what happens in groups.

use std::collections::BTreeSet;
use std::pin::pin;

use clap::Args;
use stentor_client::{Disconnected, Event, GroupChange, GroupName, Receiver, RequestError, TryRecvError};

use super::output::{Output, Style, json_line, text_line};
use super::session::{SessionArgs, stop};

#[derive(Args, Debug)]
#[command(after_help = "Each line of --json is an object with the key \"event\":\n  \
    {\"event\":\"message\",\"groups\":[..],\"sender\":\"#name#daemon\",\"service\":\"agreed\",\"tag\":0,\"data\":\"..\"}\n  \
    {\"event\":\"membership\",\"group\":\"..\",\"view\":\"..\",\"members\":[..],\"cause\":\"join\",\"who\":\"..\",\"stayed\":[..],\"sets\":[]}\n  \
    {\"event\":\"transitional\",\"group\":\"..\"}\n\
    Bytes that are not UTF-8 come as \"data_base64\" instead of \"data\". The cause is join, leave, disconnect or \
    network; \"who\" is null for network.\n\n\
    Examples:\n  stentor join news chat\n  stentor join news --json --count 10")]
pub(crate) struct JoinArgs {
    /// The groups to join.
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<GroupName>,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
    /// End after this many messages.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    session: SessionArgs,
}

pub(crate) async fn run(args: JoinArgs) -> anyhow::Result<()> {
    let (sender, mut receiver) = args.session.open().await?.split();
    let groups: BTreeSet<_> = args.groups.into_iter().collect();
    let joins = groups.iter().map(|group| sender.join(group.as_str())).collect::<Result<Vec<_>, _>>()?;
    let mut printer =
        Printer { output: Output::start()?, json: args.json, style: Style::of_stdout(), left: args.count };
    let end = tokio::select! {
        end = printer.print_all(&mut receiver, joins) => end,
        end = stop() => end,
    };
    // What was received before the end is printed, whatever the end was.
    printer.output.finish().await?;
    end?;
    drop(receiver);
    Ok(sender.close().await?)
}

struct Printer {
    output: Output,
    json: bool,
    style: Style,
    /// Messages still to print.
    left: Option<u64>,
}

impl Printer {
    /// Prints until there is enough, or nobody reads.
    async fn print_all(&mut self, receiver: &mut Receiver, joins: Vec<GroupChange>) -> anyhow::Result<()> {
        let mut joining = pin!(all(joins));
        let mut joined = false;
        loop {
            let event = match receiver.try_recv() {
                Ok(event) => event,
                Err(TryRecvError::Empty) => {
                    // Nothing more is ready: what there is must not wait.
                    if !self.output.flush().await {
                        return Ok(());
                    }
                    tokio::select! {
                        biased;
                        event = receiver.recv() => match event? {
                            Some(event) => event,
                            None => return Err(Disconnected::Closed.into()),
                        },
                        result = &mut joining, if !joined => {
                            result?;
                            joined = true;
                            continue;
                        }
                        () = self.output.closed() => return Ok(()),
                    }
                }
                Err(error) => return Err(error.into()),
            };
            if self.print(&event) || (self.output.is_full() && !self.output.flush().await) {
                return Ok(());
            }
        }
    }

    /// Prints an event; true if it was the last that is wanted.
    fn print(&mut self, event: &Event) -> bool {
        if self.json {
            json_line(event, self.output.piece());
        } else {
            let line = text_line(event, self.style);
            self.output.piece().extend_from_slice(line.as_bytes());
            self.output.piece().push(b'\n');
        }
        if matches!(event, Event::Message(_)) {
            self.left = self.left.map(|left| left - 1);
        }
        self.left == Some(0)
    }
}

async fn all(joins: Vec<GroupChange>) -> Result<(), RequestError> {
    for join in joins {
        join.await?;
    }
    Ok(())
}
