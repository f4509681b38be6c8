//! A node of a view of three: what it takes in from another member, and what it packs for the others.

use stentor_membership::{Content, Service};

use crate::peer::message;
use crate::stage::{Stage, group, pieces};
use crate::{Body, SIZES, Step, batch, payload};

pub(crate) fn bodies() -> Vec<Body> {
    let mut bodies = Vec::new();
    for size in SIZES {
        let many = batch(size);
        for service in [Service::Agreed, Service::Safe] {
            let name = format!("ordering/take-in-{service}/{size}");
            bodies.push(Body::new(name, many, move || take_in(service, size, many)));
        }
        bodies.push(Body::new(format!("ordering/pack/{size}"), many, move || pack(size, many)));
    }
    bodies.push(Body::new("ordering/take-in-one-a-frame/64", 1, || take_in(Service::Agreed, 64, 1)));
    bodies.push(Body::new("ordering/pack-one-a-frame/64", 1, || pack(64, 1)));
    bodies
}

/// Frames of another member arrive, for one local session.
fn take_in(service: Service, size: usize, messages: usize) -> Step {
    let mut stage = Stage::new(1, 1);
    let message = message(&group(0), size);
    let pieces = pieces(service, std::iter::repeat_n(&message, messages));
    if service == Service::Safe {
        // A frame's messages are due when everybody is known to have it, which is with the next one.
        stage.take_in(&pieces);
    }
    Box::new(move || stage.take_in(&pieces))
}

/// A local session multicasts, the others hear of it, and the session gets its own copies.
fn pack(size: usize, messages: usize) -> Step {
    let mut stage = Stage::new(1, 1);
    let content = Content::new(&[group(0)], 0, &payload(size)).unwrap();
    Box::new(move || {
        for _ in 0..messages {
            stage.node.multicast(stage.sessions[0], Service::Agreed, false, &content).unwrap();
        }
        let frames = stage.send();
        assert_eq!(frames, 1, "they all fit into a frame");
        stage.drain()
    })
}
