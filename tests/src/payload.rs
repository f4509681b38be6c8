//! What the messages of the tests are filled with: who sent them, and bytes that show every change.

use anyhow::{Context, Result, ensure};

use crate::log::MessageId;

/// Run, number and length, four bytes each.
const HEADER: usize = 12;

/// The payload of a message: at least its header, filled up to `size`.
pub fn make(id: MessageId, size: usize) -> Vec<u8> {
    let size = size.max(HEADER);
    let mut payload = Vec::with_capacity(size);
    payload.extend(id.run.to_le_bytes());
    payload.extend(id.number.to_le_bytes());
    payload.extend(u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
    payload.extend(filler(id).take(size - HEADER));
    payload
}

/// The message that a payload belongs to.
///
/// # Errors
/// Says why [`make`] cannot have made it.
pub fn read(payload: &[u8]) -> Result<MessageId> {
    let size = payload.len();
    let (header, rest) = payload.split_at_checked(HEADER).with_context(|| format!("{size} bytes only"))?;
    let field = |at: usize| -> Result<u32> { Ok(u32::from_le_bytes(header[at..at + 4].try_into()?)) };
    let id = MessageId { run: field(0)?, number: field(4)? };
    ensure!(usize::try_from(field(8)?)? == size, "{id:?} has {size} bytes, not {}", field(8)?);
    let changed = rest.iter().zip(filler(id)).position(|(is, was)| *is != was);
    ensure!(changed.is_none(), "{id:?} was changed at {changed:?}");
    Ok(id)
}

fn filler(id: MessageId) -> impl Iterator<Item = u8> {
    let start = id.run.wrapping_mul(31).wrapping_add(id.number).to_le_bytes()[0];
    (0..=u8::MAX).cycle().map(move |at| at.wrapping_add(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_names_its_message_and_shows_changes() {
        let id = MessageId { run: 7, number: 70_000 };
        for size in [0, HEADER, 13, 5000] {
            assert_eq!(read(&make(id, size)).unwrap(), id);
        }
        let good = make(id, 600);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(!read(&bad).is_ok_and(|read| read == id), "byte {at}");
        }
        assert!(read(&good[..599]).is_err() && read(&[]).is_err());
    }
}
