//! Who gets what: messages of another member to one group or to many in turn, for one local session or for many.

use stentor_membership::Service;

use crate::peer::message;
use crate::stage::{Stage, group, pieces};
use crate::{Body, Step, batch};

const SIZE: usize = 64;

pub(crate) fn bodies() -> Vec<Body> {
    let mut bodies = Vec::new();
    for groups in [1, 10, 100] {
        for receivers in [1, 50] {
            let name = format!("delivery/groups-{groups}/receivers-{receivers}");
            bodies.push(Body::new(name, batch(SIZE), move || deliver(groups, receivers)));
        }
    }
    bodies
}

fn deliver(groups: usize, receivers: usize) -> Step {
    let mut stage = Stage::new(receivers, groups);
    let messages: Vec<_> = (0..groups).map(|number| message(&group(number), SIZE)).collect();
    let pieces = pieces(Service::Agreed, messages.iter().cycle().take(batch(SIZE)));
    Box::new(move || stage.take_in(&pieces))
}
