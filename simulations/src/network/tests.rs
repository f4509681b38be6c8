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

#[test]
fn in_an_even_network_a_host_sends_over_one_wire_and_a_close_loses_nothing() {
    let options = NetworkOptions { bandwidth: 1_000_000, ..Options::draw(1, Overrides::default()).network };
    let (idle_timeout, latency) = (options.idle_timeout, Duration::from_millis(1));
    let mut network = Network::new(3, options, Dice::new(1, Purpose::Network));
    network.make_even(latency, Duration::ZERO);
    let links = [1, 2].map(|host| network.connect((0, 0), (host, host), NOW).0);
    let frame = Bytes::from(vec![0; 900]);
    let arrivals: Vec<Timestamp> = links
        .iter()
        .flat_map(|link| network.send_frame(*link, Side::Acceptor, frame.clone(), NOW))
        .map(|(at, _)| at)
        .collect();
    // Each takes a millisecond with its heads, the second one behind the first; the links came up before with heads alone.
    let before = Duration::from_micros(200);
    assert_eq!(arrivals, [NOW + latency * 2 + before, NOW + latency * 3 + before]);
    let down = network.close(links[0], Side::Dialer, NOW);
    assert!(matches!(down[..], [(at, Arrival { item: Item::Down, .. })] if at >= arrivals[0]), "{down:?}");
    let frames = network.links[links[0].0].end(Side::Acceptor);
    assert_eq!((frames.sent, frames.lost_from), (1, 1), "what was sent before will count");
    let breaks = network.break_link(links[1], NOW);
    assert!(breaks.iter().all(|(at, _)| *at == NOW + idle_timeout), "{breaks:?}");
}
