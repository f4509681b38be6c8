//! Everything that can come to a node that concerns its view: the rows of PROTOCOL.md's table.

use stentor_membership::wire::{Header, Status};
use stentor_membership::{Content, Service, ViewId};

use super::world::{CLOCK, Past, State, World, data, id, ids, message};

/// All kinds of frames; one that is missing here does not compile.
macro_rules! kinds {
    ($($kind:ident)*) => {
        pub(crate) const KINDS: &[&str] = &[$(stringify!($kind)),*];

        pub(crate) fn kind(header: &Header) -> &'static str {
            match header {
                $(Header::$kind { .. } => stringify!($kind),)*
            }
        }
    };
}

kinds!(Data Progress Status Propose Refuse Accept Recover Resend ResendEnd Recovered Leave Heartbeat Unreliable);

/// One row.
pub(crate) struct Input {
    /// As the table calls it. What begins with the name of a frame in backticks comes as that frame.
    pub(crate) label: &'static str,
    /// What happened before.
    pub(crate) past: Past,
    /// Gives it to the node; false if it cannot happen in this state.
    pub(crate) give: fn(&mut World, State) -> bool,
}

const fn on(label: &'static str, give: fn(&mut World, State) -> bool) -> Input {
    Input { label, past: Past::Plain, give }
}

const fn after_break(label: &'static str, give: fn(&mut World, State) -> bool) -> Input {
    Input { label, past: Past::Broken, give }
}

const fn ahead(label: &'static str, give: fn(&mut World, State) -> bool) -> Input {
    Input { label, past: Past::Ahead, give }
}

/// A view that nobody proposed.
fn elsewhere() -> ViewId {
    ViewId { epoch: 3, proposer: id("e") }
}

/// The view that is on its way; in states without, one that is on its way elsewhere.
fn next_view(world: &World, state: State) -> ViewId {
    if state >= State::Frozen { world.proposal } else { ViewId { epoch: 5, proposer: id("c") } }
}

fn give_data(world: &mut World, view: ViewId) -> bool {
    world.give_bytes("d", data(view, CLOCK + 1, CLOCK, &message()));
    true
}

fn give_progress(world: &mut World, view: ViewId) -> bool {
    world.give("d", &Header::Progress { view, clock: CLOCK + 1, horizon: CLOCK });
    true
}

fn give_status(world: &mut World, from: &str, status: Status) -> bool {
    world.give(from, &Header::Status(status));
    true
}

fn inside(world: &World) -> Status {
    Status { gathering: true, attempt: Some(world.proposal), ..world.status() }
}

fn give_accept(world: &mut World, from: &str, more: u64) -> bool {
    world.give(from, &Header::Accept { id: world.proposal, state: world.held(more) });
    true
}

fn give_recovered(world: &mut World, from: &str) -> bool {
    world.give(from, &Header::Recovered { id: world.proposal });
    true
}

/// All members but `b` are in the proposal, and as many of them have recovered as are named.
fn others_recover(world: &mut World, state: State, recovered: &[&str]) {
    if state.has_attempt() {
        for peer in ["c", "d"] {
            give_status(world, peer, inside(world));
        }
    }
    for peer in recovered {
        give_recovered(world, peer);
    }
    world.begin();
}

fn end_resends(world: &mut World, clock: u64) -> bool {
    let end = Header::ResendEnd { id: world.proposal, rank: 2, after: CLOCK, clock: CLOCK + clock };
    world.give("c", &end);
    true
}

pub(crate) const INPUTS: &[Input] = &[
    on("`Data` of my view", |w, _| give_data(w, w.view)),
    on("`Progress` of my view", |w, _| give_progress(w, w.view)),
    on("`Heartbeat` of my view", |w, _| {
        let beat = Header::Heartbeat { view: w.view, clock: CLOCK + 1, horizon: CLOCK, sent: 1 };
        w.give_datagram("d", &beat, &[]);
        true
    }),
    on("`Unreliable` of my view", |w, _| {
        w.give_datagram("d", &Header::Unreliable { view: w.view, number: 1, lane: 1 }, &message());
        true
    }),
    after_break("`Data` of my view, link came after a break", |w, _| give_data(w, w.view)),
    after_break("`Progress` of my view, link came after a break", |w, _| give_progress(w, w.view)),
    after_break("`Heartbeat` of my view, link came after a break", |w, _| {
        let beat = Header::Heartbeat { view: w.view, clock: CLOCK + 1, horizon: CLOCK, sent: 1 };
        w.give_datagram("d", &beat, &[]);
        true
    }),
    on("`Data` of the next view", |w, state| give_data(w, next_view(w, state))),
    on("`Progress` of the next view", |w, state| give_progress(w, next_view(w, state))),
    on("`Data` of another view", |w, _| give_data(w, elsewhere())),
    on("`Progress` of another view", |w, _| give_progress(w, elsewhere())),
    on("`Heartbeat` of another view", |w, _| {
        let beat = Header::Heartbeat { view: elsewhere(), clock: CLOCK + 1, horizon: CLOCK, sent: 1 };
        w.give_datagram("d", &beat, &[]);
        true
    }),
    on("`Unreliable` of another view", |w, _| {
        w.give_datagram("d", &Header::Unreliable { view: elsewhere(), number: 1, lane: 1 }, &message());
        true
    }),
    on("`Status`, the same again", |w, _| {
        give_status(w, "d", w.status());
        w.begin();
        give_status(w, "d", w.status())
    }),
    on("`Status`: a member gathers", |w, _| give_status(w, "d", Status { gathering: true, ..w.status() })),
    on("`Status`: a member lost a link to another", |w, _| {
        give_status(w, "d", Status { linked: ids(&["a", "b", "d", "e"]), ..w.status() })
    }),
    on("`Status`: a member installed another view", |w, state| {
        let view = next_view(w, state);
        give_status(w, "d", Status { view, ..w.status() })
    }),
    on("`Status`: a member accepted a proposal", |w, state| {
        let attempt = Some(next_view(w, state));
        give_status(w, "d", Status { attempt, gathering: true, ..w.status() })
    }),
    on("`Status`: a member accepted my proposal and left it", |w, state| {
        give_status(w, "d", inside(w));
        w.begin();
        state.has_attempt() && give_status(w, "d", Status { attempt: None, ..inside(w) })
    }),
    on("`Status`: a newcomer can merge", |w, _| {
        let own = ViewId { epoch: 0, proposer: id("e") };
        give_status(w, "e", Status { view: own, members: ids(&["e"]), ..w.status() })
    }),
    on("`Propose`, all is well", |w, _| {
        w.propose("c", &["b", "c", "d"], 9);
        true
    }),
    on("`Propose`, epoch not above the promised one", |w, _| {
        w.propose("c", &["b", "c", "d"], 1);
        true
    }),
    on("`Propose`, epoch far above all others", |w, _| {
        w.propose("c", &["b", "c", "d"], 1 << 40);
        true
    }),
    on("`Propose` with a daemon that I have no link to", |w, _| {
        w.propose("c", &["b", "c", "d", "z"], 9);
        true
    }),
    on("`Propose` without all members of my view", |w, _| {
        w.propose("c", &["b", "c"], 9);
        true
    }),
    on("`Refuse` of my latest proposal", |w, _| {
        w.give("d", &Header::Refuse { id: w.proposal, epoch: 1 });
        true
    }),
    on("`Refuse` of another, with a higher epoch", |w, _| {
        w.give("d", &Header::Refuse { id: elsewhere(), epoch: 20 });
        true
    }),
    on("`Accept`, not the last", |w, _| give_accept(w, "c", 0)),
    on("`Accept`, the last; I lack frames", |w, _| {
        give_accept(w, "c", 2);
        w.begin();
        give_accept(w, "d", 2)
    }),
    on("`Accept`, the last; I lack nothing", |w, _| {
        give_accept(w, "c", 0);
        w.begin();
        give_accept(w, "d", 0)
    }),
    ahead("`Accept`, the last; another lacks what I hold", |w, _| {
        give_accept(w, "c", 0);
        w.begin();
        give_accept(w, "d", 1)
    }),
    on("`Recover`; I lack frames", |w, _| {
        w.recover(2);
        true
    }),
    on("`Recover`; I lack nothing", |w, _| {
        w.recover(0);
        true
    }),
    ahead("`Recover`; another lacks what I hold", |w, _| {
        w.recover(1);
        true
    }),
    on("`Recover`; I lack nothing, the others have recovered", |w, state| {
        let before: &[&str] = if state == State::Recovered { &["c"] } else { &["c", "d"] };
        others_recover(w, state, before);
        w.recover(0);
        true
    }),
    on("`Recover` of another proposal", |w, _| {
        w.give("c", &Header::Recover { id: elsewhere(), states: vec![w.held(0)] });
        true
    }),
    on("`Resend`, not the last that I lack", |w, state| {
        w.give_bytes("c", w.resend(1));
        state != State::Recovered
    }),
    on("`Resend`, the last that I lack", |w, state| {
        if state == State::Recovered {
            return false;
        }
        w.give_bytes("c", w.resend(1));
        w.begin();
        w.give_bytes("c", w.resend(2));
        true
    }),
    on("`Resend` of what nobody holds", |w, _| {
        w.give_bytes("c", w.resend(3));
        true
    }),
    on("`ResendEnd`, I lack more", |w, state| end_resends(w, 1) && state != State::Recovered),
    on("`ResendEnd`, I lack nothing", |w, state| end_resends(w, 2) && state != State::Recovered),
    on("`ResendEnd` beyond what anybody holds", |w, _| end_resends(w, 3)),
    on("`ResendEnd`, I lack nothing, the others have recovered", |w, state| {
        if state == State::Recovered {
            return false;
        }
        others_recover(w, state, &["c", "d"]);
        end_resends(w, 2)
    }),
    on("`Recovered`, not the last", |w, _| give_recovered(w, "c")),
    on("`Recovered`, the last of the others", |w, state| {
        others_recover(w, state, &["c"]);
        give_recovered(w, "d")
    }),
    on("`Leave` of a member", |w, _| {
        w.give("d", &Header::Leave);
        true
    }),
    on("`Leave` of a daemon in neither view", |w, _| {
        w.give("e", &Header::Leave);
        true
    }),
    on("a frame that no honest peer sends", |w, _| {
        w.give("d", &Header::Propose { id: elsewhere(), members: ids(&["b", "e"]) });
        true
    }),
    on("a frame without a link", |w, _| {
        w.give("z", &Header::Leave);
        true
    }),
    on("a new link", |w, _| {
        w.node.handle_link_up(id("a"), w.now);
        true
    }),
    on("a new link to a member, the old one not ended", |w, _| {
        w.node.handle_link_up(id("d"), w.now);
        true
    }),
    on("a link to a member ends", |w, _| {
        w.node.handle_link_down(id("d"), w.now);
        true
    }),
    on("a link to a daemon in neither view ends", |w, _| {
        w.node.handle_link_down(id("e"), w.now);
        true
    }),
    on("a member is silent", |w, state| {
        if matches!(state, State::Gathering | State::Frozen) {
            w.bring_another_proposer();
        }
        w.pass_time(&["a", "c", "e"]);
        true
    }),
    on("a daemon in neither view is silent", |w, state| {
        if matches!(state, State::Gathering | State::Frozen) {
            w.bring_another_proposer();
        }
        w.pass_time(&["a", "c", "d"]);
        true
    }),
    on("time to propose", |w, state| {
        if state == State::Operational {
            let own = ViewId { epoch: 0, proposer: id("e") };
            give_status(w, "e", Status { view: own, members: ids(&["e"]), ..w.status() });
        }
        w.pass_time(&["c", "d", "e"]);
        if !state.has_attempt() {
            w.learn_proposal();
        }
        !state.has_attempt()
    }),
    on("time to propose, nobody else is left", |w, state| {
        if !matches!(state, State::Gathering | State::Frozen) {
            return false;
        }
        for peer in ["c", "d"] {
            w.node.handle_link_down(id(peer), w.now);
        }
        w.drain();
        w.pass_time(&["e"]);
        true
    }),
    on("patience is at its end", |w, state| {
        if matches!(state, State::Gathering | State::Frozen) {
            w.bring_another_proposer();
        }
        state != State::Operational && {
            w.pass_time(&["a", "c", "d", "e"]);
            true
        }
    }),
    on("a heartbeat is due", |w, state| {
        if matches!(state, State::Gathering | State::Frozen) {
            w.bring_another_proposer();
        }
        for _ in 0..10 {
            w.begin();
            w.now = w.node.poll_timeout().unwrap().max(w.now);
            w.node.handle_timeout(w.now);
            w.drain();
            if w.sent.iter().any(|(_, header)| kind(header) == "Heartbeat") {
                break;
            }
        }
        true
    }),
    on("a session sends", |w, _| {
        let content = Content::new(&["g"], 0, b"text").unwrap();
        w.node.multicast(w.session, Service::Agreed, false, &content).unwrap();
        true
    }),
    on("an orderly stop", |w, _| {
        w.node.leave_cluster(w.now);
        true
    }),
];
