//! What one message costs, layer by layer: each [`Body`] is one piece of the way of a message, with everything around it
//! made up, through public interfaces alone.
//!
//! `cargo bench` of the crates that do the work lets criterion run them for time. The program `instructions` counts the
//! instructions of each and compares them with `instructions.txt` (CONTRIBUTING.md says how). Both need the same work at
//! every run: there is no clock here, no randomness and no hash order.
#![expect(
    clippy::unwrap_used,
    reason = "what is made up here is right; if it is not, no figure is worth anything"
)]

mod delivery;
mod ordering;
mod peer;
mod session;
mod stage;

/// Work on messages that can be done again and again.
pub struct Body {
    /// What it does, to whom, and with how large payloads.
    pub name: String,
    /// How many messages one step works on.
    pub messages: usize,
    begin: Box<dyn Fn() -> Step + Send + Sync>,
}

/// Does the work once; gives the number of messages that came out at the other end.
type Step = Box<dyn FnMut() -> usize>;

impl Body {
    fn new(
        name: impl Into<String>,
        messages: usize,
        begin: impl Fn() -> Step + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), messages, begin: Box::new(begin) }
    }

    /// Prepares the work. Each call of what is returned is a step.
    ///
    /// # Panics
    /// The step does, if another number of messages comes out than goes in.
    pub fn begin(&self) -> impl FnMut() {
        let (mut step, messages) = ((self.begin)(), self.messages);
        move || assert_eq!(step(), messages, "messages that came out")
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body")
            .field("name", &self.name)
            .field("messages", &self.messages)
            .finish_non_exhaustive()
    }
}

/// The work of the session protocol: what a program and its daemon say to each other.
#[must_use]
pub fn client() -> Vec<Body> {
    session::bodies()
}

/// The work of the core: frames between daemons, order, groups.
#[must_use]
pub fn membership() -> Vec<Body> {
    [peer::bodies(), ordering::bodies(), delivery::bodies()].into_iter().flatten().collect()
}

/// Payloads: small ones, many to a frame, and larger ones.
const SIZES: [usize; 2] = [64, 1024];

/// Messages of this size that share a frame or a read under load: 20 to 34 KiB.
fn batch(size: usize) -> usize {
    if size > 256 { 32 } else { 256 }
}

/// What is sent.
fn payload(size: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_that_goes_in_comes_out_at_every_step() {
        for body in client().iter().chain(&membership()) {
            let mut step = body.begin();
            for _ in 0..5 {
                step();
            }
        }
    }

    #[test]
    fn names_are_different_and_without_spaces() {
        let mut names: Vec<_> = client().into_iter().chain(membership()).map(|body| body.name).collect();
        assert!(names.iter().all(|name| !name.contains(char::is_whitespace)));
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
