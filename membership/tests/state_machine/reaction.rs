//! What a node did, in the words of PROTOCOL.md's table.

use std::collections::{BTreeMap, BTreeSet};

use stentor_membership::wire::Header;
use stentor_membership::{DaemonId, Event};

use super::input::kind;
use super::world::{World, id};

/// What the table says of inputs that change nothing and are not answered.
const IGNORED: &str = "·";

/// The cell of the table that tells what happened since `World::begin`, and to what state.
pub(crate) fn cell(world: &World) -> String {
    let (from, before) = &world.before;
    let (state, after) = (world.state(), world.layers());
    let mut words = frames(world);
    let mut installed = 0;
    let mut delivered = false;
    for event in &world.events {
        match event {
            Event::CloseLink { .. } => words.insert(0, "close"),
            Event::Transitional(_) | Event::View(_) => installed += 1,
            Event::Message(_) => delivered = true,
            Event::Membership(_) | Event::GroupTransitional { .. } | Event::Unblocked(_) => {}
            _ => panic!("an event that the table has no word for: {event:?}"),
        }
    }
    if installed > 0 {
        // A node that installs tells its status and its sessions' groups.
        assert_eq!(installed, 2, "a transitional configuration, then the view: {:?}", world.events);
        let links = world.node.linked().next().is_some();
        let alone = world.node.view().members.len() == 1;
        for (word, expected) in [("tell", links), ("send", !alone)] {
            assert_eq!(words.contains(&word), expected, "{word}: {:?}", world.sent);
        }
        words.retain(|word| !matches!(*word, "tell" | "send"));
        words.push("install");
    } else if held(&before["ordering"]) != held(&after["ordering"]) && !words.contains(&"send") {
        words.insert(0, "take");
    } else if delivered {
        words.push("deliver");
    }
    if words.is_empty() {
        let changed: Vec<_> = after.iter().filter(|(layer, text)| before.get(*layer) != Some(text)).collect();
        let changed: BTreeSet<&str> = changed.iter().map(|(layer, _)| &layer[..]).collect();
        words.push(match changed.into_iter().collect::<Vec<_>>()[..] {
            [] if state == *from => IGNORED,
            ["agreement"] if early(&before["agreement"]) < early(&after["agreement"]) => "keep",
            ["agreement"] if state == *from => "note",
            ["agreement"] => "",
            ["outbox"] => "queue",
            ref layers => panic!("the table has no word for changes in {layers:?}"),
        });
    }
    let words = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ");
    if state == *from && !words.ends_with("accept") {
        words
    } else {
        format!("{words} → {}", state.letter()).trim_start().to_owned()
    }
}

/// The frames that were sent, each kind as a word; all that each kind goes to must have got it, once.
fn frames(world: &World) -> Vec<&'static str> {
    let mut receivers: BTreeMap<&str, Vec<DaemonId>> = BTreeMap::new();
    for (to, header) in &world.sent {
        receivers.entry(kind(header)).or_default().push(*to);
    }
    // An orderly stop takes no more notice of its links.
    let linked: Vec<_> = world.node.linked().collect();
    let others = |members: &[DaemonId]| -> Vec<DaemonId> {
        members.iter().copied().filter(|member| *member != id("b") && linked.contains(member)).collect()
    };
    let proposed = world.sent.iter().find_map(|(_, header)| match header {
        Header::Propose { members, .. } => Some(others(members)),
        _ => None,
    });
    let proposed = proposed.unwrap_or_else(|| others(&world.members));
    let mut words = Vec::new();
    for (kind, to) in receivers {
        let (word, expected) = match kind {
            "Status" => ("tell", linked.clone()),
            "Propose" => ("propose", proposed.clone()),
            "Refuse" => ("refuse", vec![id("c")]),
            "Accept" => ("accept", vec![id("c")]),
            "Recover" => ("answers", proposed.clone()),
            "Resend" => ("resend", vec![id("c")]),
            "ResendEnd" => ("", vec![id("c"), id("d"), id("c")]),
            "Recovered" => ("recovered", proposed.clone()),
            "Leave" => ("leave", linked.clone()),
            "Heartbeat" => ("heartbeat", linked.clone()),
            "Data" => ("send", others(&world.node.view().members)),
            "Progress" => ("", others(&world.node.view().members)),
            _ => panic!("the table has no word for sending {kind}"),
        };
        assert_eq!(to, expected, "who gets {kind}");
        words.push(word);
    }
    words.retain(|word| !word.is_empty());
    words.sort_unstable_by_key(|word| {
        ["tell", "propose", "answers", "resend"].iter().rev().position(|w| w == word)
    });
    words.reverse();
    words
}

/// What is held of the view, without whether it may still change and which links count.
fn held(ordering: &str) -> String {
    let mut inside = false;
    let keep = ordering.lines().filter(|line| {
        let line = line.trim_start();
        let lost = inside || line.starts_with("lost:");
        inside = lost && !line.ends_with("},");
        !lost && !line.starts_with("frozen:")
    });
    keep.collect()
}

/// Bytes that an attempt keeps for later.
fn early(agreement: &str) -> u64 {
    let bytes = agreement.split("early_bytes: ").nth(1).and_then(|rest| rest.split(',').next());
    bytes.map_or(0, |bytes| bytes.parse().unwrap())
}
