//! PROTOCOL.md's table of the view change says what nodes do: each input is given to a node in each state, and what the
//! node then does must be what the cell says.
#![expect(clippy::unwrap_used, reason = "a test may stop at what must not happen")]

mod input;
mod reaction;
mod table;
mod world;

use stentor_membership::Phase;

use input::{INPUTS, Input, KINDS, kind};
use table::IMPOSSIBLE;
use world::{Past, State, World};

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
            let row = State::ALL.map(|state| observed(input, state)).join(" | ");
            wrong.push(format!("no row: | {} | {row} |", input.label));
            continue;
        };
        for state in State::ALL {
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
