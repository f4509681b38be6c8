//! What the peers' messages hold, so that each can be checked; the same is in `corosync.c`.

use anyhow::{Result, bail, ensure};

/// Bytes of a message at least: its number, and room for more.
pub const SIZE_MIN: usize = 16;

/// Writes a message's number into it, and a last byte that depends on it.
pub(super) fn write(payload: &mut [u8], number: u64) {
    let tail = tail(payload.len(), number);
    payload[..8].copy_from_slice(&number.to_le_bytes());
    if let Some(last) = payload.last_mut() {
        *last = tail;
    }
}

/// The number of a message of `size` bytes.
pub(super) fn read(payload: &[u8], size: usize) -> Result<u64> {
    ensure!(payload.len() == size, "a message of {} bytes arrived, {size} were sent", payload.len());
    let Some(head) = payload.first_chunk() else { bail!("a message of {size} bytes has no number") };
    let number = u64::from_le_bytes(*head);
    ensure!(
        payload.last() == Some(&tail(size, number)),
        "message {number} has another content than was sent"
    );
    Ok(number)
}

fn tail(size: usize, number: u64) -> u8 {
    (size as u64).wrapping_add(number).to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_and_a_changed_one_too() {
        let mut payload = [0; 20];
        write(&mut payload, 300);
        assert_eq!(read(&payload, 20).unwrap(), 300);
        assert!(read(&payload, 21).is_err() && read(&payload[..19], 19).is_err());
        payload[19] ^= 1;
        assert!(read(&payload, 20).unwrap_err().to_string().contains("300"));
    }
}
