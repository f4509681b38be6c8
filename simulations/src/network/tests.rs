//! Links and paths, alone.

use super::*;
use crate::dice::Purpose;
use crate::options::Options;
use crate::overrides::Overrides;

const NOW: Timestamp = Timestamp::ZERO;

/// A network with one link that is up at both ends.
fn linked(seed: u64) -> (Network, LinkId) {
    let options = Options::draw(seed, Overrides::default()).network;
    let mut network = Network::new(2, options, Dice::new(seed, Purpose::Network));
    let (link, planned) = network.connect((0, 0), (1, 1), NOW);
    for (_, arrival) in planned {
        assert!(network.accept(&arrival));
        network.opened(link, arrival.to);
    }
    (network, link)
}

fn frames(network: &mut Network, link: LinkId, count: u8) -> Planned {
    let send = |n| network.send_frame(link, Side::Acceptor, vec![n].into(), NOW);
    (0..count).flat_map(send).collect()
}

/// Lets things arrive in the order of their time; gives the frames that count.
fn arrive(network: &mut Network, mut planned: Planned) -> Vec<u8> {
    planned.sort_by_key(|(at, _)| *at);
    let counted = planned.into_iter().filter(|(_, arrival)| network.accept(arrival));
    let first = |(_, arrival): (Timestamp, Arrival)| match arrival.item {
        Item::Frame(_, frame) => Some(frame[0]),
        _ => None,
    };
    counted.filter_map(first).collect()
}

#[test]
fn frames_arrive_in_order() {
    for seed in 0..50 {
        let (mut network, link) = linked(seed);
        let planned = frames(&mut network, link, 20);
        assert!(planned.is_sorted_by_key(|(at, _)| *at));
        assert_eq!(arrive(&mut network, planned), (0..20).collect::<Vec<_>>());
    }
}

#[test]
fn a_broken_link_loses_a_tail_and_takes_no_more() {
    let mut kept = Vec::new();
    for seed in 0..50 {
        let (mut network, link) = linked(seed);
        let mut planned = frames(&mut network, link, 20);
        let notices = network.break_link(link, NOW);
        assert_eq!(notices.len(), 2, "both ends will notice");
        planned.extend(frames(&mut network, link, 3));
        let got = arrive(&mut network, planned);
        assert_eq!(got, (0..u8::try_from(got.len()).unwrap()).collect::<Vec<_>>(), "a hole");
        kept.push(got.len());
    }
    assert!(kept.contains(&20) && kept.iter().any(|kept| *kept < 5), "{kept:?}");
}

#[test]
fn a_close_after_a_break_brings_nothing_back() {
    for seed in 0..200 {
        let (mut network, link) = linked(seed);
        let mut planned = frames(&mut network, link, 20);
        network.break_link(link, NOW);
        planned.extend(frames(&mut network, link, 5));
        planned.extend(network.close(link, Side::Dialer, NOW));
        planned.retain(|(_, arrival)| matches!(arrival.item, Item::Frame(..)));
        let got = arrive(&mut network, planned);
        assert_eq!(got, (0..u8::try_from(got.len()).unwrap()).collect::<Vec<_>>(), "a hole");
    }
}

#[test]
fn nothing_arrives_at_a_closed_end() {
    let (mut network, link) = linked(1);
    let planned = frames(&mut network, link, 20);
    network.close(link, Side::Acceptor, NOW);
    assert_eq!(arrive(&mut network, planned), []);
    assert_eq!(network.open_links(), [link], "the other end does not know yet");
}

#[test]
fn a_blocked_direction_holds_frames_and_loses_datagrams_until_it_heals() {
    let (mut network, link) = linked(1);
    network.block(0, 1);
    assert!(!network.can_dial(0, 1) && !network.can_dial(1, 0));
    assert!(frames(&mut network, link, 5).is_empty());
    assert!(network.send_datagram(link, Side::Acceptor, &Bytes::from_static(b"d"), NOW).is_empty());
    let planned = network.heal(NOW);
    assert_eq!(arrive(&mut network, planned), [0, 1, 2, 3, 4]);
    assert!(network.can_dial(0, 1));
}
