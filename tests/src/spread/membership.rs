//! What a membership message says.

use anyhow::{Result, ensure};

use super::frame::{Message, NAME, count, text};

/// The body of a regular membership message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The identity of the view.
    pub id: [u8; 12],
    /// The virtual synchrony sets, or the one that joined, left or disconnected.
    pub sets: Vec<Vec<String>>,
    /// Which of the sets is the receiver's.
    pub own: usize,
}

impl View {
    /// Reads the body of a message.
    ///
    /// # Errors
    /// If a byte is missing or too many, or the offset leads to no set.
    pub fn of(message: &Message) -> Result<Self> {
        let body = &message.body;
        let id = group_id(body)?;
        let (number, offset) = (count(body, 12)?, count(body, 16)?);
        let (mut at, mut sets, mut own) = (20, Vec::new(), None);
        for index in 0..number {
            if at == 20 + offset {
                own = Some(index);
            }
            let members = count(body, at)?;
            at += 4;
            ensure!(body.len() >= at + members * NAME, "the set at {at} is cut off");
            let names: Result<Vec<_>> = body[at..at + members * NAME].chunks_exact(NAME).map(text).collect();
            sets.push(names?);
            at += members * NAME;
        }
        ensure!(at == body.len(), "{} bytes behind the sets", body.len() - at);
        let own = own.ok_or_else(|| anyhow::anyhow!("no set at offset {offset}"))?;
        Ok(Self { id, sets, own })
    }

    /// The last part of the id.
    ///
    /// # Errors
    /// Never, as there are enough bytes.
    pub fn index(&self) -> Result<usize> {
        count(&self.id, 8)
    }
}

/// The group id that a body begins with.
///
/// # Errors
/// If it is too short.
pub fn group_id(body: &[u8]) -> Result<[u8; 12]> {
    ensure!(body.len() >= 12, "a body of {} bytes", body.len());
    let mut id = [0; 12];
    id.copy_from_slice(&body[..12]);
    Ok(id)
}
