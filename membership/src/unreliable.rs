//! Unreliable messages are delivered at most once, though datagrams may come twice (PROTOCOL O7).

/// How far back a late message is still told from a doubled one.
const DEPTH: u64 = 64;

/// The latest numbers that came from one sender in this view.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    /// The highest number so far.
    top: u64,
    /// Bit i: `top - i` was here.
    seen: u64,
}

impl Window {
    /// Notes `number` (from 1 on); false if it was here before or is too old to tell.
    pub(crate) fn is_new(&mut self, number: u64) -> bool {
        if number > self.top {
            let by = number - self.top;
            self.seen = if by < DEPTH { self.seen << by } else { 0 } | 1;
            self.top = number;
            return true;
        }
        let age = self.top - number;
        if age >= DEPTH || self.seen >> age & 1 == 1 {
            return mutant!(DatagramTwice);
        }
        self.seen |= 1 << age;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_is_new_twice_and_nothing_recent_is_refused(numbers in prop::collection::vec(1u64..200, 0..300)) {
            let mut window = Window::default();
            let mut before = std::collections::BTreeSet::new();
            for number in numbers {
                let recent = before.last().is_none_or(|&top| number + DEPTH > top);
                prop_assert_eq!(window.is_new(number), recent && !before.contains(&number));
                before.insert(number);
            }
        }
    }
}
