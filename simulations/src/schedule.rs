//! Virtual time: what happens next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use stentor_membership::Timestamp;

/// Things to come, in the order of their time; at the same time, in the order in which they were planned.
#[derive(Debug)]
pub(crate) struct Schedule<T> {
    now: Timestamp,
    planned: u64,
    due: BinaryHeap<Reverse<Due<T>>>,
}

#[derive(Debug)]
struct Due<T> {
    at: Timestamp,
    number: u64,
    what: T,
}

impl<T> Schedule<T> {
    pub(crate) fn new() -> Self {
        Self { now: Timestamp::ZERO, planned: 0, due: BinaryHeap::new() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    pub(crate) fn after(&mut self, span: Duration, what: T) {
        self.at(self.now + span, what);
    }

    /// Plans something; not earlier than now.
    pub(crate) fn at(&mut self, at: Timestamp, what: T) {
        self.planned += 1;
        self.due.push(Reverse(Due { at: at.max(self.now), number: self.planned, what }));
    }

    /// The next thing until `end`, and its time becomes now. Without one, `end` becomes now.
    pub(crate) fn next(&mut self, end: Timestamp) -> Option<T> {
        match self.due.peek() {
            Some(Reverse(first)) if first.at <= end => {}
            _ => {
                self.now = self.now.max(end);
                return None;
            }
        }
        let Reverse(due) = self.due.pop()?;
        self.now = due.at;
        Some(due.what)
    }
}

impl<T> Ord for Due<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<T> PartialOrd for Due<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Due<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Due<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_by_time_and_then_in_the_order_of_planning() {
        let mut schedule = Schedule::new();
        for (millis, what) in [(2, 'c'), (1, 'a'), (1, 'b'), (9, 'd')] {
            schedule.after(Duration::from_millis(millis), what);
        }
        let end = Timestamp::from_nanos(5_000_000);
        let order: Vec<char> = std::iter::from_fn(|| schedule.next(end)).collect();
        assert_eq!(order, ['a', 'b', 'c']);
        assert_eq!(schedule.now(), end);
    }
}
