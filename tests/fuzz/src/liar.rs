//! A daemon that has the right key, takes part, and says whatever comes to its mind.

use std::collections::BTreeSet;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use stentor_membership::{Phase, Service};

use super::cluster::Cluster;
use super::made_up::World;

/// How long the honest daemons have to be one again when the liar is gone: many times the longest patience.
const REST_SECONDS: u32 = 120;

/// A view of three, one of which also sends made-up frames, repeats old ones and swallows some, as `data` tells it.
///
/// Whatever it says: nobody panics, no node contradicts itself, and memory does not grow beyond what was sent. What the
/// honest two sent to each other each delivers at most once, in one order, their views rise, those that one of them
/// proposed have the same members for both, and when the liar is gone, they are in one view with their latest messages
/// delivered.
pub fn lying_peer(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let liar = usize::from(u.arbitrary::<u8>().unwrap_or_default()) % 3;
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    let honest: Vec<usize> = (0..3).filter(|at| *at != liar).collect();
    let mut bytes = 0;
    while !u.is_empty() {
        if act(&mut u, &mut cluster, liar, &honest, &mut bytes).is_err() {
            break;
        }
    }
    cluster.run(Duration::from_millis(50));
    for &at in &honest {
        let held =
            format!("{:?}", cluster.nodes[at].stats()).len() + format!("{:#?}", cluster.nodes[at]).len();
        let bound = 200_000 + 400 * bytes;
        assert!(held <= bound, "{held} bytes of text about what a node holds after {bytes} bytes");
    }
    cluster.remove(liar);
    for _ in 0..REST_SECONDS {
        cluster.run(Duration::from_secs(1));
        if honest.iter().all(|&at| rests(&cluster, at, &honest)) {
            break;
        }
    }
    for &at in &honest {
        cluster.send(at, Service::Safe);
    }
    cluster.run(Duration::from_secs(1));
    check(&cluster, &honest);
}

/// One thing that happens.
fn act(
    u: &mut Unstructured<'_>,
    cluster: &mut Cluster,
    liar: usize,
    honest: &[usize],
    bytes: &mut usize,
) -> Result<()> {
    match u.int_in_range(0..=15)? {
        0 | 1 => cluster.run(Duration::from_millis(u.int_in_range(0..=20)?)),
        2 => cluster.run(Duration::from_millis(u.int_in_range(20..=700)?)),
        3 => {
            let service = *u.choose(&Service::ALL)?;
            cluster.send(*u.choose(honest)?, service);
        }
        4 => cluster.send(liar, *u.choose(&Service::ALL)?),
        5 => {
            let to = *u.choose(honest)?;
            cluster.swallow.insert((liar, to), u.int_in_range(1..=5)?);
        }
        6 => {
            let (a, b) = *u.choose(&[(0, 1), (0, 2), (1, 2)])?;
            cluster.cut(a, b);
        }
        7 => {
            let (channel, payload) = u.choose(&cluster.seen)?.clone();
            *bytes += payload.len();
            cluster.inject(liar, *u.choose(honest)?, channel, payload);
        }
        _ => {
            let world = World { nodes: &cluster.nodes, ids: &cluster.ids, liar };
            let (channel, payload) = world.frame(u)?;
            let to = u.int_in_range(0..=2)?;
            for (at, &peer) in honest.iter().enumerate() {
                if to == at || to == 2 {
                    *bytes += payload.len();
                    cluster.inject(liar, peer, channel, payload.clone());
                }
            }
        }
    }
    Ok(())
}

/// Whether a daemon is in a view of exactly the honest.
fn rests(cluster: &Cluster, at: usize, honest: &[usize]) -> bool {
    let node = &cluster.nodes[at];
    let members = honest.iter().map(|&at| cluster.ids[at]);
    node.phase() == Phase::Operational && node.view().members.iter().copied().eq(members)
}

fn check(cluster: &Cluster, honest: &[usize]) {
    let liar = (0..3).find(|at| !honest.contains(at)).map(|at| cluster.ids[at]).unwrap();
    for &at in honest {
        let (node, story) = (&cluster.nodes[at], &cluster.stories[at]);
        assert!(rests(cluster, at, honest), "L1: {node:?} is in one view with the other: {:?}", node.view());
        assert!(story.views.is_sorted_by(|a, b| a.id < b.id), "E2: views rise: {:?}", story.views);
        assert!(story.views.iter().all(|view| view.rank(cluster.ids[at]).is_some()), "E1: {:?}", story.views);
        let mut seen = BTreeSet::new();
        let mut last = [None; 3];
        for &(sender, number, service) in story.messages.iter().filter(|(sender, ..)| honest.contains(sender))
        {
            assert!(seen.insert((sender, number)), "E4: message {number} of {sender} comes twice at {at}");
            if service >= Service::Fifo {
                assert!(
                    last[sender] < Some(number),
                    "E7: message {number} of {sender} after {:?}",
                    last[sender]
                );
                last[sender] = Some(number);
            }
        }
        for (number, service) in (0..).zip(&cluster.taken[at]) {
            let own = *service == Service::Unreliable || seen.contains(&(at, number));
            assert!(own, "E5: message {number} of {at}, {service}, does not come to itself");
        }
        for &other in honest {
            let last = u32::try_from(cluster.taken[other].len()).unwrap().checked_sub(1);
            assert!(
                last.is_none_or(|last| seen.contains(&(other, last))),
                "L1: the last of {other} comes to {at}"
            );
        }
    }
    // The liar may propose one view to one and another by the same id to the other.
    let proposed_by_honest =
        |at: usize| cluster.stories[at].views.iter().filter(|view| view.id.proposer != liar);
    for view in proposed_by_honest(honest[0]) {
        let other = proposed_by_honest(honest[1]).find(|other| other.id == view.id);
        assert!(other.is_none_or(|other| other.members == view.members), "E2: {view:?} and {other:?}");
    }
    let ordered = |at: usize| {
        let common = move |&&(sender, number, service): &&(usize, u32, Service)| {
            let others = |other: &usize| {
                *other == at || cluster.stories[*other].messages.contains(&(sender, number, service))
            };
            service >= Service::Causal && honest.contains(&sender) && honest.iter().all(others)
        };
        cluster.stories[at].messages.iter().filter(common).collect::<Vec<_>>()
    };
    assert_eq!(ordered(honest[0]), ordered(honest[1]), "E9: one order");
}
