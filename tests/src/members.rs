//! The usual cast: one member of a group on each daemon of a cluster, and what they send.

use std::time::Duration;

use anyhow::Result;
use stentor_membership::Service;

use crate::cluster::Cluster;
use crate::recorder::{Recorder, Stream};

/// All levels that promise something about delivery, the ordered ones more often.
pub const MIXED: &[Service] =
    &[Service::Agreed, Service::Safe, Service::Fifo, Service::Causal, Service::Reliable, Service::Agreed];

/// The group that they are in.
pub const GROUP: &str = "g";

/// A session `x` on a, `y` on b and `z` on c, all members of [`GROUP`].
///
/// # Errors
/// If one of them does not get there.
pub async fn three_members(cluster: &Cluster) -> Result<[Recorder; 3]> {
    let members = [
        cluster.connect("a", "x").await?,
        cluster.connect("b", "y").await?,
        cluster.connect("c", "z").await?,
    ];
    for member in &members {
        member.join(GROUP).await?;
    }
    for member in &members {
        member.until_members(GROUP, &members.each_ref()).await?;
    }
    Ok(members)
}

/// Lets members send to their group until they are told to stop, at a pace that a starved machine can keep.
pub fn keep_sending<const N: usize>(members: [&Recorder; N], size: usize) -> [Stream; N] {
    members.map(|member| member.stream(GROUP, MIXED, size, Duration::from_millis(2)))
}

/// Ends senders.
///
/// # Errors
/// If one of them hangs.
pub async fn stop_sending(streams: impl IntoIterator<Item = Stream>) -> Result<()> {
    for stream in streams {
        stream.stop().await?;
    }
    Ok(())
}

/// Waits until all of them are in one view of the group, and messages flow.
///
/// # Errors
/// If that does not come.
pub async fn until_together(members: &[&Recorder]) -> Result<()> {
    for member in members {
        member.until_members(GROUP, members).await?;
    }
    until_flowing(members).await
}

/// Waits until each of them has got messages anew.
///
/// # Errors
/// If they do not come.
pub async fn until_flowing(members: &[&Recorder]) -> Result<()> {
    for member in members {
        member.until_more(100).await?;
    }
    Ok(())
}
