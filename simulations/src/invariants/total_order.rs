//! E9: any two daemons that deliver two ordered messages deliver them in the same order, also across
//! partitions and merges; E13: changes of groups have their place in the same order. This holds exactly if the
//! orders of all daemons taken together have no cycle.

use std::collections::{BTreeMap, VecDeque};

use stentor_membership::{GroupName, GroupViewId};

use crate::facts::Facts;
use crate::history::Entry;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    Send(usize),
    Change(GroupName, GroupViewId),
}

pub(super) fn check(facts: &Facts<'_>) -> Result<(), String> {
    let orders: Vec<Vec<Point>> = (0..facts.history.processes.len()).map(|p| order_of(facts, p)).collect();
    let mut followers: BTreeMap<Point, Vec<Point>> = BTreeMap::new();
    let mut waits_for: BTreeMap<Point, usize> = BTreeMap::new();
    for order in &orders {
        for point in order {
            waits_for.entry(*point).or_default();
        }
        for pair in order.windows(2) {
            followers.entry(pair[0]).or_default().push(pair[1]);
            *waits_for.entry(pair[1]).or_default() += 1;
        }
    }
    let mut free: VecDeque<Point> = waits_for.iter().filter(|(_, n)| **n == 0).map(|(p, _)| *p).collect();
    while let Some(point) = free.pop_front() {
        waits_for.remove(&point);
        for follower in followers.remove(&point).into_iter().flatten() {
            if let Some(count) = waits_for.get_mut(&follower) {
                *count -= 1;
                if *count == 0 {
                    free.push_back(follower);
                }
            }
        }
    }
    if waits_for.is_empty() { Ok(()) } else { Err(explain(facts, &orders, &waits_for)) }
}

fn order_of(facts: &Facts<'_>, process: usize) -> Vec<Point> {
    let point = |entry: &Entry| match entry {
        Entry::Message(message) => {
            let known = facts.history.sends.get(message.send)?;
            known.service.is_ordered().then_some(Point::Send(message.send))
        }
        Entry::Membership(change) => Some(Point::Change(change.group, change.view)),
        _ => None,
    };
    facts.history.processes[process].entries.iter().filter_map(point).collect()
}

/// A pair that two daemons have the other way round, or else all that is on cycles.
fn explain(facts: &Facts<'_>, orders: &[Vec<Point>], cyclic: &BTreeMap<Point, usize>) -> String {
    let name = |point: &Point| match point {
        Point::Send(send) => facts.name(*send),
        Point::Change(group, view) => format!("view {view} of group {group}"),
    };
    for (p, one) in orders.iter().enumerate() {
        let place: BTreeMap<Point, usize> =
            one.iter().enumerate().filter(|(_, x)| cyclic.contains_key(x)).map(|(i, x)| (*x, i)).collect();
        for (q, other) in orders.iter().enumerate() {
            let common: Vec<&Point> = other.iter().filter(|x| place.contains_key(x)).collect();
            if let Some(pair) = common.windows(2).find(|pair| place[pair[0]] > place[pair[1]]) {
                return format!(
                    "{} delivers {} before {}, {} the other way round",
                    facts.id(q),
                    name(pair[0]),
                    name(pair[1]),
                    facts.id(p)
                );
            }
        }
    }
    let names: Vec<String> = cyclic.keys().map(name).collect();
    format!("the orders of the daemons contradict each other over {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use stentor_membership::Service;

    use super::super::story::Story;

    #[test]
    fn two_orders_are_seen() {
        let mut story = Story::together(2);
        let (a, b) = (story.send(0, Service::Agreed), story.send(1, Service::Safe));
        story.deliver(&[0, 1], a);
        story.deliver(&[0, 1], b);
        story.is_right();
        let entries = story.entries(1);
        let last = entries.len() - 1;
        entries.swap(last - 1, last);
        story.breaks("E9 agreed order");
    }

    #[test]
    fn independent_causal_messages_have_one_order_as_well() {
        let mut story = Story::together(2);
        let (a, b) = (story.send(0, Service::Causal), story.send(1, Service::Causal));
        story.deliver(&[0], a);
        story.deliver(&[0, 1], b);
        story.deliver(&[1], a);
        story.breaks("E9 agreed order");
    }

    #[test]
    fn three_daemons_in_a_ring_are_seen() {
        let mut story = Story::together(3);
        let m: Vec<usize> = (0..3).map(|daemon| story.send(daemon, Service::Agreed)).collect();
        story.begin(2, &[0]);
        story.begin(3, &[1]);
        story.begin(4, &[2]);
        for daemon in 0..3 {
            story.deliver(&[daemon], m[daemon]);
            story.deliver(&[daemon], m[(daemon + 1) % 3]);
        }
        story.breaks("E9 agreed order");
    }

    #[test]
    fn a_join_on_two_sides_of_a_message_is_seen() {
        let mut story = Story::together(2);
        let s = story.connect(0, "s");
        let m = story.send(0, Service::Agreed);
        story.join(&[0, 1], s, "all", &[0, s, 1]);
        story.deliver_to(0, m, &[0, s]);
        story.deliver_to(1, m, &[1]);
        story.is_right();
        let entries = story.entries(1);
        let last = entries.len() - 1;
        entries.swap(last - 1, last);
        story.breaks("E9 agreed order");
    }
}
