//! What Spread programs are told: messages, memberships and rejects, byte for byte.

use bytes::{BufMut, Bytes, BytesMut};
use stentor_membership::{Cause, Content, GroupName, GroupViewId, MemberName, Membership, Service};

use super::header::{HEADER, Header, Hint, LENGTH_AT, NAME};
use super::kind;
use super::marks::Marks;
use super::names::{Aliases, padded};
use super::{MAX_DESTINATIONS, MAX_MESSAGE};

/// The bytes of a group id.
const GROUP_ID: usize = 12;

/// The identity of a group's view: equal at all members, different for different views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupId([u8; GROUP_ID]);

impl GroupId {
    /// Spread's ids name a view of the daemons in two integers, and count the group's views in it in a third.
    pub(crate) fn new(view: &GroupViewId, index: u32) -> Self {
        let name = match view.toward {
            Some(next) => format!("{}>{next}", view.view),
            None => view.view.to_string(),
        };
        let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
        let mut id = [0; GROUP_ID];
        id[..8].copy_from_slice(&digest.as_ref()[..8]);
        id[8..].copy_from_slice(&index.to_le_bytes());
        Self(id)
    }
}

/// The header and the destinations of a message; [`set_length`] completes it. None if its destinations alone are more
/// than Spread programs take.
pub(crate) fn message_head(
    sender: MemberName,
    service: Service,
    content: &Content,
    aliases: &Aliases,
) -> BytesMut {
    let marks = Marks::of(content, service);
    let mut names = BytesMut::new();
    if marks.destinations.is_empty() {
        content.targets().for_each(|target| aliases.put(target, &mut names));
    } else {
        names.put_slice(marks.destinations);
    }
    let name = aliases.field(&sender.to_string());
    with_names(Header { word: marks.word, name, names: 0, hint: marks.hint, length: 0 }, &names)
}

/// Says in a message's head how many bytes of payload follow; false if Spread programs do not take so many.
pub(crate) fn set_length(head: &mut [u8], payload: usize) -> bool {
    let names = head.len().saturating_sub(HEADER);
    match i32::try_from(payload) {
        Ok(length) if names + payload <= MAX_MESSAGE => {
            head[LENGTH_AT..HEADER].copy_from_slice(&length.to_le_bytes());
            true
        }
        Ok(_) | Err(_) => false,
    }
}

/// A new view of a group, for those who are in it.
pub(crate) fn membership(event: &Membership, aliases: &Aliases) -> Bytes {
    let (cause, who) = match event.cause {
        Cause::Join(who) => (kind::BY_JOIN, Some(who)),
        Cause::Leave(who) => (kind::BY_LEAVE, Some(who)),
        Cause::Disconnect(who) => (kind::BY_DISCONNECT, Some(who)),
        Cause::Network => (kind::BY_NETWORK, None),
    };
    let mut body = BytesMut::new();
    body.put_slice(&GroupId::new(&event.view, event.index).0);
    match who {
        Some(who) => put_sets(&mut body, &[vec![who]], 0, aliases),
        None => {
            let own = event.sets.iter().position(|set| set.first() == event.stayed.first());
            put_sets(&mut body, &event.sets, own.unwrap_or_default(), aliases);
        }
    }
    let mut names = BytesMut::with_capacity(event.members.len() * NAME);
    event.members.iter().for_each(|member| aliases.put(&member.to_string(), &mut names));
    let header = Header {
        word: cause | kind::REGULAR,
        name: padded(event.group.as_str()),
        names: 0,
        hint: Hint::new(0),
        length: size(body.len()),
    };
    let mut out = with_names(header, &names);
    out.unsplit(body);
    out.freeze()
}

/// The virtual synchrony sets; `own` is the receivers'.
fn put_sets(body: &mut BytesMut, sets: &[Vec<MemberName>], own: usize, aliases: &Aliases) {
    const COUNT: usize = 4;
    let before: usize = sets.iter().take(own).map(|set| COUNT + set.len() * NAME).sum();
    body.put_i32_le(size(sets.len()));
    body.put_i32_le(size(before));
    for set in sets {
        body.put_i32_le(size(set.len()));
        set.iter().for_each(|member| aliases.put(&member.to_string(), body));
    }
}

/// What a session that left a group is told.
pub(crate) fn self_leave(group: GroupName) -> Bytes {
    let name = padded(group.as_str());
    with_names(Header { word: kind::BY_LEAVE, name, names: 0, hint: Hint::new(0), length: 0 }, &[]).freeze()
}

/// The view `old` of a group ends: what comes until the next one is promised for those only that move along.
pub(crate) fn transitional(group: GroupName, old: GroupId) -> Bytes {
    let length = size(GROUP_ID);
    let name = padded(group.as_str());
    let header = Header { word: kind::TRANSITIONAL, name, names: 0, hint: Hint::new(0), length };
    let mut out = with_names(header, &[]);
    out.put_slice(&old.0);
    out.freeze()
}

/// Gives a message back to its sender, unless that wants no copy of what it sends: nobody else gets it.
pub(crate) fn reject(
    sender: MemberName,
    service: Service,
    content: &Content,
    aliases: &Aliases,
) -> Option<Bytes> {
    let word = Marks::of(content, service).word;
    if word & kind::SELF_DISCARD != 0 {
        return None;
    }
    let mut head = message_head(sender, service, content, aliases);
    let payload = content.payload();
    if !set_length(&mut head, payload.len()) {
        return None;
    }
    let mut header = Header::read(head.first_chunk()?);
    header.word = kind::REJECT;
    let mut names = head[HEADER..].to_vec();
    names.truncate((MAX_DESTINATIONS - 1) * NAME);
    names.extend_from_slice(&header.name);
    header.names = size(names.len() / NAME);
    let mut out = BytesMut::new();
    header.put(&mut out);
    out.put_u32_le(word | kind::ENDIAN);
    out.put_slice(&names);
    out.put_slice(&payload);
    Some(out.freeze())
}

/// A header that counts the names behind it.
fn with_names(header: Header, names: &[u8]) -> BytesMut {
    let length = usize::try_from(header.length).unwrap_or_default();
    let mut out = BytesMut::with_capacity(HEADER + names.len() + length);
    Header { names: size(names.len() / NAME), ..header }.put(&mut out);
    out.put_slice(names);
    out
}

/// Sizes here are those of groups and messages that fit in memory many times over.
fn size(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stentor_membership::{DaemonId, Position, ViewId};

    use super::*;

    fn member(name: &str) -> MemberName {
        name.parse().unwrap()
    }

    fn view(epoch: u64, toward: Option<u64>) -> GroupViewId {
        let id = |epoch| ViewId { epoch, proposer: DaemonId { name: "d1".parse().unwrap(), incarnation: 1 } };
        GroupViewId { view: id(epoch), toward: toward.map(id), position: Position::default() }
    }

    fn event(cause: Cause, sets: &[&[&str]], stayed: &str) -> Membership {
        let sets: Vec<Vec<_>> = sets.iter().map(|set| set.iter().map(|m| member(m)).collect()).collect();
        let mut members: Vec<_> = sets.concat();
        members.sort();
        Membership {
            receivers: Arc::default(),
            group: "room".parse().unwrap(),
            view: view(1, None),
            index: 2,
            members: members.into(),
            cause,
            stayed: [member(stayed)].into(),
            sets: sets.into(),
        }
    }

    fn field(name: &str) -> Vec<u8> {
        padded(name).to_vec()
    }

    #[test]
    fn a_join_has_the_joiner_as_its_only_set() {
        let mut event = event(Cause::Join(member("#bob#d1")), &[&["#alice#d1", "#bob#d1"]], "#alice#d1");
        event.sets = Arc::default();
        let id = GroupId::new(&event.view, 2).0.to_vec();
        let expected = [
            vec![0x80, 0x11, 0, 0x80],
            field("room"),
            vec![2, 0, 0, 0, 0x80, 0, 0, 0x80, 56, 0, 0, 0],
            field("#alice#d1"),
            field("#bob#d1"),
            id,
            vec![1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
            field("#bob#d1"),
        ]
        .concat();
        assert_eq!(membership(&event, &Aliases::default()), expected);
    }

    #[test]
    fn a_merge_says_where_the_set_of_the_receiver_begins() {
        let event = event(Cause::Network, &[&["#carol#d3"], &["#adam#d1", "#bob#d2"]], "#adam#d1");
        let bytes = membership(&event, &Aliases::default());
        let body = &bytes[HEADER + 3 * NAME..];
        assert_eq!(body[12..24], [2, 0, 0, 0, 0x24, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(body.len(), 20 + 2 * 4 + 3 * NAME);
        assert_eq!(bytes[..4], [0x80, 0x18, 0, 0x80]);
        assert_eq!(body[20 + 0x24..][..4], [2, 0, 0, 0]);
    }

    #[test]
    fn ids_differ_by_view_transition_and_index() {
        let ids = [(1, None, 1), (1, None, 2), (2, None, 1), (1, Some(2), 1)];
        let ids: Vec<_> = ids.map(|(epoch, toward, index)| GroupId::new(&view(epoch, toward), index)).into();
        for (at, id) in ids.iter().enumerate() {
            assert_eq!(ids.iter().position(|other| other == id), Some(at));
        }
    }

    #[test]
    fn a_message_that_spread_programs_do_not_take_is_known_in_time() {
        let content = Content::new(&["g"], 0, b"").unwrap();
        let mut head = message_head(member("#a#d"), Service::Agreed, &content, &Aliases::default());
        assert_eq!(head.len(), HEADER + NAME);
        assert!(set_length(&mut head, MAX_MESSAGE - NAME));
        assert!(!set_length(&mut head, MAX_MESSAGE - NAME + 1));
        assert!(!set_length(&mut head, usize::MAX >> 1));
    }

    #[test]
    fn a_reject_gives_everything_back_with_the_sender_as_the_last_name() {
        let content = Content::new(&["g"], 7, b"hi").unwrap();
        let bytes = reject(member("#a#d"), Service::Safe, &content, &Aliases::default()).unwrap();
        let expected = [
            vec![0x80, 0, 0x40, 0x80],
            field("#a#d"),
            vec![2, 0, 0, 0, 0x80, 7, 0, 0x80, 2, 0, 0, 0],
            vec![0xa0, 0, 0, 0x80],
            field("g"),
            field("#a#d"),
            b"hi".to_vec(),
        ]
        .concat();
        assert_eq!(bytes, expected);
        let many = Content::new(&["g"; 100], 7, b"hi").unwrap();
        let bytes = reject(member("#a#d"), Service::Safe, &many, &Aliases::default()).unwrap();
        assert_eq!(bytes[36], 100);
        assert_eq!(bytes[HEADER + 4 + 99 * NAME..][..NAME], padded("#a#d"));
    }
}
