//! PROTOCOL.md's table of the view change says what nodes do: each input is given to a node in each state, and what the
//! node then does must be what the cell says.
#![expect(clippy::unwrap_used, reason = "a test may stop at what must not happen")]

mod input;
mod reaction;
mod table;
mod world;

use bytes::BytesMut;
use stentor_membership::wire::{Header, Status};
use stentor_membership::{Content, Phase, Service, ViewId};

use input::{INPUTS, Input, KINDS, kind};
use table::IMPOSSIBLE;
use world::{CLOCK, Past, State, World, data, id, ids, message, piece};

/// What a node in `state` does with `input`, as a cell of the table.
fn observed(input: &Input, state: State) -> String {
    if input.past == Past::Broken && state == State::Operational {
        return IMPOSSIBLE.to_owned();
    }
    let mut world = World::new(state, input.past);
    if !(input.give)(&mut world, state) {
        return IMPOSSIBLE.to_owned();
    }
    world.drain();
    let label = input.label;
    assert_eq!(world.before.0, state, "{label} came in another state");
    let named = label.strip_prefix('`').and_then(|rest| rest.split('`').next());
    let given: Vec<_> = world.given.iter().map(kind).collect();
    if let Some(named) = named {
        assert_eq!(given, [named], "{label} is given as it is called");
    }
    reaction::cell(&world)
}

#[test]
fn nodes_do_what_the_table_says_and_the_table_says_all_that_can_happen() {
    let table = table::read();
    let mut wrong = Vec::new();
    for input in INPUTS {
        let Some(row) = table.cells.get(input.label) else {
            println!("{} has no row", input.label);
            let row = State::ALL.map(|state| observed(input, state)).join(" | ");
            wrong.push(format!("no row: | {} | {row} |", input.label));
            continue;
        };
        for state in State::ALL {
            println!("{} in {state:?}", input.label);
            let (said, done) = (&row[&state.letter()], observed(input, state));
            if *said != done {
                wrong.push(format!(
                    "{} in {state:?}: the table says {said:?}, the node does {done:?}",
                    input.label
                ));
            }
        }
    }
    let unknown = table.cells.keys().filter(|label| INPUTS.iter().all(|input| input.label != **label));
    wrong.extend(unknown.map(|label| format!("{label}: nobody gives that to a node")));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A peer that fills a node with frames for later makes the attempt fail, however small they are (W3).
#[test]
fn what_is_kept_for_later_is_bounded() {
    for label in [
        "`Data` of the next view",
        "`Progress` of the next view",
        "`Resend`, not the last that I lack",
        "`ResendEnd`, I lack more",
    ] {
        let input = INPUTS.iter().find(|input| input.label == label).unwrap();
        let mut world = World::new(State::Accepted, Past::Plain);
        let mut kept = 0;
        while world.node.phase() == Phase::Recovering {
            (input.give)(&mut world, State::Accepted);
            kept += 1;
            assert!(kept < 50_000, "{label}: no end of it");
        }
        assert!(kept > 1000, "{label}: only {kept}");
        assert_eq!(world.state(), State::Frozen);
    }
}

/// What a peer says of epochs beyond all reason leaves enough of them for the proposals of all times (V4.2).
#[test]
fn one_wrong_epoch_does_not_use_up_all() {
    let mut world = World::new(State::Gathering, Past::Plain);
    world.give("e", &Header::Refuse { id: world.proposal, epoch: 1 << 62 });
    world.pass_time(&["c", "d", "e"]);
    world.learn_proposal();
    assert_eq!(world.proposal.epoch, world.view.epoch + (1 << 32) + 1);
}

/// Who believed the largest clock can still count on, and says nothing that others refuse to read (W3).
#[test]
fn the_largest_clock_is_not_the_last() {
    let mut world = World::new(State::Operational, Past::Plain);
    world.give_bytes("d", data(world.view, 1 << 61, 0, &message()));
    world.begin();
    let content = Content::new(&["g"], 0, b"text").unwrap();
    world.node.multicast(world.session, Service::Agreed, false, &content).unwrap();
    world.drain();
    let sent = world
        .sent
        .iter()
        .filter(|(_, header)| matches!(header, Header::Data { clock, .. } if clock >> 61 == 1));
    assert_eq!(sent.count(), 2, "to c and to d: {:?}", world.sent);
    world.give("d", &Header::Progress { view: world.view, clock: (1 << 61) + 1, horizon: 0 });
    assert_eq!(world.state(), State::Gathering, "d is cut off");
}

/// An answer for a view by a daemon that was not in it costs its sender a place in the transitional configuration, and
/// the proposer, which need not know that view, nothing (V5, W3).
#[test]
fn a_wrong_answer_is_not_the_proposers_fault() {
    let mut world = World::new(State::Accepted, Past::Plain);
    world.propose("c", &["b", "c", "d", "e"], 9);
    world.proposal = ViewId { epoch: 9, proposer: id("c") };
    let inside = Status { gathering: true, attempt: Some(world.proposal), ..world.status() };
    for peer in ["c", "d", "e"] {
        world.give(peer, &Header::Status(Status { members: ids(&["b", "c", "d", "e"]), ..inside.clone() }));
    }
    world.begin();
    world.give("c", &Header::Recover { id: world.proposal, states: vec![world.held(0); 4] });
    assert_eq!(reaction::cell(&world), "recovered → R");
    for peer in ["c", "d", "e"] {
        world.give(peer, &Header::Recovered { id: world.proposal });
    }
    assert_eq!(world.node.view().id, world.proposal);
    assert_eq!(world.node.view().came_along[..], ids(&["b", "c", "d"]));
}

/// A member that said different things to different daemons leaves frames that fit at one and not at the other: they
/// count as empty, and the one that passes them on is not to blame (V5.2, W3).
#[test]
fn a_resend_that_does_not_fit_here_is_not_the_resenders_fault() {
    let mut world = World::new(State::Gathering, Past::Plain);
    world.give_bytes("d", piece(world.view, CLOCK + 1, CLOCK, b"begins", false));
    world.propose("c", &["b", "c", "d"], 5);
    world.proposal = ViewId { epoch: 5, proposer: id("c") };
    let states = vec![world.own.clone().unwrap(), world.held(2), world.held(2)];
    world.give("c", &Header::Recover { id: world.proposal, states });
    assert_eq!(world.state(), State::Levelling);
    world.begin();
    let mut resend = BytesMut::new();
    Header::Resend { id: world.proposal, rank: 2, after: CLOCK + 1 }.encode_into(&mut resend);
    resend.extend_from_slice(&piece(world.view, CLOCK + 2, CLOCK, b"begins again", false));
    world.give_bytes("c", resend.freeze());
    assert_eq!(reaction::cell(&world), "take, recovered → R");
}

#[test]
fn every_kind_of_frame_has_a_row() {
    let table = table::read();
    for kind in KINDS {
        let prefix = format!("`{kind}`");
        assert!(table.cells.keys().any(|label| label.starts_with(&prefix)), "no row for {kind}");
    }
}

#[test]
fn every_row_names_clauses_that_exist() {
    let table = table::read();
    for (label, clauses) in &table.clauses {
        for clause in clauses {
            assert!(table.text.contains(&format!("- **{clause}**")), "{label}: there is no {clause:?}");
        }
    }
}
