//! A program that is there, in a group of its own, and has nothing to do with the load.

use super::seat::Seat;

/// Stays until it is over.
pub(super) async fn run(seat: Seat) -> anyhow::Result<()> {
    let group = seat.group_apart();
    let (shared, _, connection) = seat.open(vec![group]).await?;
    let (sender, receiver) = connection.split();
    shared.over.cancelled().await;
    drop(receiver);
    Ok(sender.close().await?)
}
