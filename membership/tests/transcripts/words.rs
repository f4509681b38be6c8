//! Frames and events in words.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use stentor_membership::wire::{Body, Header, State, Status, SyncPart, read_piece};
use stentor_membership::{CloseReason, Content, DaemonId, Event, Membership, Phase, Transitional, ViewId};

/// Names without the number of the run: there is one run of each daemon here.
pub(crate) fn names<'a>(daemons: impl IntoIterator<Item = &'a DaemonId>) -> String {
    daemons.into_iter().map(|daemon| daemon.name.to_string()).collect::<Vec<_>>().join(" ")
}

pub(crate) fn view(id: ViewId) -> String {
    format!("{}@{}", id.epoch, id.proposer.name)
}

/// Who are members of the views that were installed or proposed, to call ranks by name.
pub(crate) type Members = BTreeMap<ViewId, Vec<DaemonId>>;

/// A frame in full, for the line of its sender, which is in the view `old`.
pub(crate) fn frame(frame: &Bytes, members: &Members, old: ViewId) -> String {
    let (header, rest) = Header::decode(frame).unwrap();
    let of_rank = |rank: u16| members[&old][usize::from(rank)].name;
    match header {
        Header::Data { view: of, clock, horizon } => {
            format!("Data {} clock {clock} horizon {horizon}: {}", view(of), pieces(&rest))
        }
        Header::Progress { view: of, clock, horizon } => {
            format!("Progress {} clock {clock} horizon {horizon}", view(of))
        }
        Header::Status(status) => format!("Status {}", status_words(&status)),
        Header::Propose { id, members } => format!("Propose {} of {}", view(id), names(&members)),
        Header::Refuse { id, epoch } => format!("Refuse {}, highest epoch {epoch}", view(id)),
        Header::Accept { id, state } => format!("Accept {}: {}", view(id), held(&state, members)),
        Header::Recover { id, states } => {
            let answers = members[&id].iter().zip(&states);
            let answers = answers.map(|(member, state)| format!("{}: {}", member.name, held(state, members)));
            format!("Recover {}: {}", view(id), answers.collect::<Vec<_>>().join("; "))
        }
        Header::Resend { id, rank, after } => {
            let (inner, rest) = Header::decode(&rest).unwrap();
            let Header::Data { clock, .. } = inner else { panic!("a resend of {inner:?}") };
            let whose = of_rank(rank);
            format!("Resend {}, of {whose}, clock {clock}, after {after}: {}", view(id), pieces(&rest))
        }
        Header::ResendEnd { id, rank, after, clock } => {
            format!("ResendEnd {}, of {}: after {after}, up to {clock}", view(id), of_rank(rank))
        }
        Header::Recovered { id } => format!("Recovered {}", view(id)),
        Header::Leave => "Leave".to_owned(),
        Header::Heartbeat { view: of, clock, horizon, sent } => {
            format!("Heartbeat {} clock {clock} horizon {horizon} sent {sent}", view(of))
        }
        Header::Unreliable { view: of, number, lane } => {
            format!("Unreliable {} number {number} lane {lane}", view(of))
        }
    }
}

/// A frame in a few words, for the lines of its receivers.
pub(crate) fn short(frame: &Bytes) -> String {
    let (header, _) = Header::decode(frame).unwrap();
    match header {
        Header::Data { view: of, clock, .. } => format!("Data {} clock {clock}", view(of)),
        Header::Progress { view: of, clock, horizon } => {
            format!("Progress {} clock {clock} horizon {horizon}", view(of))
        }
        Header::Status(_) => "Status".to_owned(),
        Header::Propose { id, .. } => format!("Propose {}", view(id)),
        Header::Refuse { id, .. } => format!("Refuse {}", view(id)),
        Header::Accept { id, .. } => format!("Accept {}", view(id)),
        Header::Recover { id, .. } => format!("Recover {}", view(id)),
        Header::Resend { id, .. } => format!("Resend {}", view(id)),
        Header::ResendEnd { id, .. } => format!("ResendEnd {}", view(id)),
        Header::Recovered { id } => format!("Recovered {}", view(id)),
        Header::Leave => "Leave".to_owned(),
        Header::Heartbeat { .. } => "Heartbeat".to_owned(),
        Header::Unreliable { number, .. } => format!("Unreliable {number}"),
    }
}

pub(crate) fn is_heartbeat(frame: &Bytes) -> bool {
    matches!(Header::decode(frame), Ok((Header::Heartbeat { .. }, _)))
}

fn status_words(status: &Status) -> String {
    let mut words = format!("linked {}; in {} of ", names(&status.linked), view(status.view));
    words += &names(&status.members);
    words += if status.gathering { ", gathering" } else { ", operational" };
    if let Some(attempt) = status.attempt {
        write!(words, ", accepted {}", view(attempt)).unwrap();
    }
    words
}

fn held(state: &State, members: &Members) -> String {
    let members = &members[&state.view];
    let heard = members.iter().zip(&state.heard).map(|(member, clock)| format!("{} {clock}", member.name));
    let mut words = format!("of {} ", view(state.view));
    words += &heard.collect::<Vec<_>>().join(", ");
    write!(words, ", stable {}", state.stable).unwrap();
    if !state.obliged.is_empty() {
        let obliged = state.obliged.iter().map(|&rank| &members[usize::from(rank)]);
        write!(words, ", obliged to {}", names(obliged)).unwrap();
    }
    words
}

fn pieces(rest: &Bytes) -> String {
    let (mut words, mut at) = (Vec::new(), 0);
    while at < rest.len() {
        let piece = read_piece(rest, &mut at).unwrap();
        if !(piece.first && piece.last) {
            let which = if piece.first {
                "first"
            } else if piece.last {
                "last"
            } else {
                "next"
            };
            words.push(format!("the {which} {} bytes of a large message", piece.body.len()));
            continue;
        }
        let (body, content) = Body::decode(&piece.body.of(rest)).unwrap();
        words.push(match body {
            Body::Multicast { sender, .. } => {
                let content = Content::parse(content).unwrap();
                let to: Vec<_> = content.targets().collect();
                let text = quoted(&content);
                format!("{sender} to {}, {}, {text}", to.join(" "), piece.service)
            }
            Body::Join { session, group } => format!("{session} joins {group}"),
            Body::Leave { session, group } => format!("{session} leaves {group}"),
            Body::Disconnect { session } => format!("{session} ended"),
            Body::Sync(part) => {
                let SyncPart { origin, rows, .. } = part;
                let rows = rows.iter().map(|(session, _, groups)| {
                    let groups: Vec<_> = groups.iter().map(ToString::to_string).collect();
                    format!("{session} in {}", groups.join(" "))
                });
                let mut rows: Vec<_> = rows.collect();
                if rows.is_empty() {
                    rows.push("none".to_owned());
                }
                let from = view(origin.complete);
                format!("groups here: {}; origin {from} with {}", rows.join(", "), names(&origin.companions))
            }
        });
    }
    words.join("; ")
}

/// A short message as text, of a large one its size.
fn quoted(content: &Content) -> String {
    let text = content.payload();
    if text.len() > 100 {
        format!("{} bytes", text.len())
    } else {
        format!("{:?}", String::from_utf8_lossy(&text))
    }
}

pub(crate) fn event(event: &Event) -> String {
    match event {
        Event::Transitional(transitional) => {
            let Transitional { view: old, toward, members } = &**transitional;
            format!("TRANSITIONAL from {} to {}: {}", view(*old), view(*toward), names(&members[..]))
        }
        Event::View(new) => {
            let along = names(&new.came_along[..]);
            let along = if along.is_empty() { String::new() } else { format!("; with me came {along}") };
            format!("VIEW {}: {}{along}", view(new.id), names(&new.members[..]))
        }
        Event::Message(message) => {
            let text = quoted(&message.content);
            let place = if message.transitional { ", in the transitional configuration" } else { "" };
            format!("delivers {text} of {}, {}{place}", message.envelope.sender, message.service)
        }
        Event::Membership(membership) => membership_words(membership),
        Event::GroupTransitional { group, .. } => {
            format!("GROUP {group} is transitional: members may be lost")
        }
        Event::CloseLink { peer, reason } => match reason {
            CloseReason::Silent => format!("suspects {}: silent for too long", peer.name),
            CloseReason::Left => format!("gives the link to {} up: it left", peer.name),
            _ => panic!("nobody breaks the rules here: {event:?}"),
        },
        _ => panic!("no story has {event:?}"),
    }
}

fn membership_words(membership: &Membership) -> String {
    let join = |members: &[_]| members.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let Membership { group, members, cause, sets, .. } = membership;
    let who = cause.who().map(|who| format!(" of {who}")).unwrap_or_default();
    let sets = sets.iter().map(|set| format!("[{}]", join(set))).collect::<Vec<_>>().join(" ");
    let sets = if sets.is_empty() { sets } else { format!("; together so far: {sets}") };
    format!("GROUP {group} after {}{who}: {}{sets}", cause.as_str(), join(members))
}

/// None if the report of the view says it already.
pub(crate) fn phase(from: Phase, to: Phase) -> Option<&'static str> {
    match (from, to) {
        (_, Phase::Operational) => None,
        (Phase::Recovering, Phase::Gathering) => {
            Some("gathers again: the attempt failed, its view stays frozen")
        }
        (_, Phase::Gathering) => Some("gathers: its view does not stand any more"),
        (Phase::Operational, Phase::Recovering) => Some("recovers: its view, which stood, is frozen"),
        (_, Phase::Recovering) => Some("recovers: its view is frozen"),
    }
}
