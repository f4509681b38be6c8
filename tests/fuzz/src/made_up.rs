//! Frames that an authenticated peer could send, whether or not they are true.

use arbitrary::{Result, Unstructured};
use bytes::{BufMut, Bytes, BytesMut};
use stentor_membership::wire::{Body, Header, Origin, State, Status, SyncPart, put_piece_head};
use stentor_membership::{Channel, Content, DaemonId, Node, Service, ViewId};

/// What there is to lie about.
pub(crate) struct World<'a> {
    pub(crate) nodes: &'a [Node],
    pub(crate) ids: &'a [DaemonId],
    pub(crate) liar: usize,
}

impl World<'_> {
    /// A frame, and how it travels.
    pub(crate) fn frame(&self, u: &mut Unstructured<'_>) -> Result<(Channel, Bytes)> {
        let mut out = BytesMut::new();
        let kind = u.int_in_range(0..=12)?;
        let header = match kind {
            0 => Header::Data { view: self.view(u)?, clock: clock(u)?, horizon: horizon(u)? },
            1 => Header::Progress { view: self.view(u)?, clock: clock(u)?, horizon: horizon(u)? },
            2 => Header::Status(self.status(u)?),
            3 => Header::Propose { id: self.proposal(u)?, members: self.members(u)? },
            4 => Header::Refuse { id: self.view(u)?, epoch: epoch(u)? },
            5 => Header::Accept { id: self.view(u)?, state: self.state(u)? },
            6 => {
                let count = u.int_in_range(0..=4)?;
                let states = (0..count).map(|_| self.state(u)).collect::<Result<_>>()?;
                Header::Recover { id: self.proposal(u)?, states }
            }
            7 => Header::Resend { id: self.view(u)?, rank: u.int_in_range(0..=3)?, after: clock(u)? },
            8 => {
                let rank = u.int_in_range(0..=3)?;
                Header::ResendEnd { id: self.view(u)?, rank, after: clock(u)?, clock: clock(u)? }
            }
            9 => Header::Recovered { id: self.view(u)? },
            10 => Header::Leave,
            11 => {
                let (clock, horizon) = (clock(u)?, horizon(u)?);
                Header::Heartbeat { view: self.view(u)?, clock, horizon, sent: u.int_in_range(0..=20)? }
            }
            _ => Header::Unreliable { view: self.view(u)?, number: clock(u)?, lane: u.int_in_range(0..=2)? },
        };
        header.encode_into(&mut out);
        match header {
            Header::Data { .. } => self.pieces(u, &mut out)?,
            Header::Resend { .. } => {
                Header::Data { view: self.view(u)?, clock: clock(u)?, horizon: horizon(u)? }
                    .encode_into(&mut out);
                self.pieces(u, &mut out)?;
            }
            Header::Unreliable { .. } => out.put_slice(&self.body(u)?),
            _ => {}
        }
        let datagram = matches!(header, Header::Heartbeat { .. } | Header::Unreliable { .. });
        let stray = u.ratio(1, 100)?;
        let channel = if datagram == stray { Channel::Stream } else { Channel::Datagram };
        Ok((channel, out.freeze()))
    }

    /// Mostly a view that is, or is on its way.
    fn view(&self, u: &mut Unstructured<'_>) -> Result<ViewId> {
        let near = u.choose(self.nodes)?.view().id;
        Ok(match u.int_in_range(0..=9)? {
            0..=6 => near,
            7 | 8 => ViewId { epoch: near.epoch + 1, proposer: *u.choose(self.ids)? },
            _ => ViewId { epoch: epoch(u)?, proposer: *u.choose(self.ids)? },
        })
    }

    /// One of the liar's own.
    fn proposal(&self, u: &mut Unstructured<'_>) -> Result<ViewId> {
        let near = self.nodes.iter().map(|node| node.view().id.epoch).max().unwrap_or_default();
        let epoch = if u.ratio(1, 8)? { epoch(u)? } else { near + u.int_in_range(0..=3)? };
        Ok(ViewId { epoch, proposer: self.ids[self.liar] })
    }

    /// Any of the daemons, and one that is not there.
    fn members(&self, u: &mut Unstructured<'_>) -> Result<Vec<DaemonId>> {
        let stranger = DaemonId { incarnation: 2, ..self.ids[0] };
        let all = self.ids.iter().copied().chain([stranger]);
        let mask: u8 = if u.ratio(1, 2)? { 0b111 } else { u.arbitrary()? };
        let mut members: Vec<_> =
            all.enumerate().filter(|(at, _)| mask >> at & 1 == 1).map(|(_, id)| id).collect();
        if !u.ratio(1, 100)? {
            members.sort_unstable();
        }
        Ok(members)
    }

    fn status(&self, u: &mut Unstructured<'_>) -> Result<Status> {
        let members = self.members(u)?;
        Ok(Status {
            linked: self.members(u)?,
            view: self.view(u)?,
            members,
            gathering: u.arbitrary()?,
            attempt: if u.arbitrary()? { Some(self.view(u)?) } else { None },
            epoch: epoch(u)?,
        })
    }

    fn state(&self, u: &mut Unstructured<'_>) -> Result<State> {
        let count = if u.ratio(1, 20)? { u.int_in_range(0..=5)? } else { 3 };
        let heard: Vec<u64> = (0..count).map(|_| clock(u)).collect::<Result<_>>()?;
        let stable = if u.arbitrary()? { 0 } else { clock(u)? };
        let obliged = (0..u.int_in_range(0..=3)?).map(|_| u.int_in_range(0..=3)).collect::<Result<_>>()?;
        Ok(State { view: self.view(u)?, heard, stable, obliged })
    }

    fn pieces(&self, u: &mut Unstructured<'_>, out: &mut BytesMut) -> Result<()> {
        for _ in 0..u.int_in_range(0..=3)? {
            let body = self.body(u)?;
            let whole = !u.ratio(1, 8)?;
            let (first, last) = if whole { (true, true) } else { (u.arbitrary()?, u.arbitrary()?) };
            put_piece_head(out, u.int_in_range(0..=3)?, *u.choose(&Service::ALL)?, first, last, body.len());
            out.put_slice(&body);
        }
        if u.ratio(1, 50)? {
            out.put_slice(u.bytes(3)?);
        }
        Ok(())
    }

    /// What the group layer may get.
    fn body(&self, u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
        let session = u.choose(&["s1", "s2", "x"])?.parse().unwrap();
        let group = u.choose(&["g", "h"])?.parse().unwrap();
        let (body, content) = match u.int_in_range(0..=5)? {
            0 | 1 => {
                let content =
                    Content::new(&[*u.choose(&["g", "h", "#s1#a", "#s1#b"])?], 0, b"made up").unwrap();
                (
                    Body::Multicast { sender: session, discard_self: u.arbitrary()? },
                    content.encoded().to_vec(),
                )
            }
            2 => (Body::Join { session, group }, Vec::new()),
            3 => (Body::Leave { session, group }, Vec::new()),
            4 => (Body::Disconnect { session }, Vec::new()),
            _ => {
                let origin = Origin { complete: self.view(u)?, companions: self.members(u)? };
                let rows = if u.arbitrary()? {
                    vec![(session, u.int_in_range(0..=3)?, vec![group])]
                } else {
                    Vec::new()
                };
                (Body::Sync(SyncPart { origin, rows, last: u.arbitrary()? }), Vec::new())
            }
        };
        let mut bytes = [&body.encode()[..], &content].concat();
        if u.ratio(1, 20)? && !bytes.is_empty() {
            let at = u.int_in_range(0..=bytes.len() - 1)?;
            bytes[at] = u.arbitrary()?;
        }
        Ok(bytes)
    }
}

/// Mostly small, as clocks are in a young view; now and then as large as can be written.
fn clock(u: &mut Unstructured<'_>) -> Result<u64> {
    number(u, 12)
}

fn horizon(u: &mut Unstructured<'_>) -> Result<u64> {
    number(u, 3)
}

fn epoch(u: &mut Unstructured<'_>) -> Result<u64> {
    number(u, 6)
}

fn number(u: &mut Unstructured<'_>, most: u64) -> Result<u64> {
    Ok(match u.int_in_range(0..=63)? {
        0 => 1 << u.int_in_range(60..=62)?,
        1 => (1 << 62) + 1,
        2 => u.arbitrary()?,
        _ => u.int_in_range(0..=most)?,
    })
}
