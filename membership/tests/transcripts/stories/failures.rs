//! Daemons crash, links break.

use std::time::Duration;

use stentor_membership::{Config, Service};

use super::super::Story;
use super::super::script::Script;

const MS: Duration = Duration::from_millis(1);

/// A link on which nothing arrives any more, though nobody knows yet.
const NEVER: Duration = Duration::from_secs(3600);

pub(crate) const CRASH: Story = Story {
    name: "crash",
    proves: "a daemon that crashed is suspected after its silence; what the living sent meanwhile is delivered",
    clauses: "D1, D2, E5, E6, O5.2, V3.1, V4.3, V5.1, V6.2, V6.3, G4, G5",
    tell: || {
        let mut s = Script::together(&["a", "b", "c"]);
        let (ann, bob) = (s.named("a", "ann", &["news"]), s.named("b", "bob", &["news"]));
        s.named("c", "cleo", &["news"]);
        s.run(20 * MS);
        s.skip();
        s.say("c crashes. Nobody knows; what ann sends waits for c's clock, which will never come.");
        s.crash("c");
        s.sends("a", ann, Service::Agreed, &["news"], "anybody there?");
        s.run(300 * MS);
        s.say("Half a second after its last heartbeat, c is suspected.");
        s.run(400 * MS);
        assert_eq!(s.view_of("a"), "a b");
        let story = ["news transitional", "anybody there?", "news network #ann#a #bob#b"];
        assert_eq!(s.heard("a", ann), story);
        assert_eq!(s.heard("b", bob), story);
        s
    },
};

pub(crate) const LOST_TAIL: Story = Story {
    name: "lost_tail",
    proves: "what one survivor holds of a crashed daemon all get, and what could lack its causes nobody delivers",
    clauses: "E6, E7, E10, O5.1, V5.1, V5.2, V5.4, V6.1, V6.2",
    tell: || {
        let mut s = Script::together(&["a", "b", "c"]);
        let (ann, bob) = (s.named("a", "ann", &["news"]), s.named("b", "bob", &["news"]));
        let (cleo, carl) = (s.named("c", "cleo", &["news"]), s.named("c", "carl", &[]));
        s.run(20 * MS);
        s.skip();
        s.say("From c nothing reaches a any more. cleo sends `one` while ann sends `two`; only b gets both, and with
               them all clocks, so b delivers.");
        s.slow_down("c", "a", NEVER);
        s.sends("c", cleo, Service::Agreed, &["news"], "one");
        s.sends("a", ann, Service::Agreed, &["news"], "two");
        s.run(5 * MS);
        s.say("cleo sends `three`, and carl, also on c, a Fifo message. Again only b gets it. carl's needs no order and
               is delivered at once; `three` waits for a's clock. The way from b to a is slow now.");
        s.slow_down("b", "a", 10 * MS);
        s.sends("c", cleo, Service::Agreed, &["news"], "three");
        s.sends("c", carl, Service::Fifo, &["news"], "four");
        s.run(2 * MS);
        s.say("c crashes, and a and b notice. b is to resend what a lacks. `one` is at or below the horizon H, the least
               final clock, a's: all its causes are here, and a delivers it. `three` is above H: something before it
               may be lost with c, and both discard it. carl's message b has delivered already, so a does, too.");
        s.crash("c");
        s.cut_at("a", "c");
        s.cut_at("b", "c");
        s.slow_down("b", "a", MS);
        s.run(50 * MS);
        let messages = |mut story: Vec<String>| {
            story.retain(|line| !line.starts_with("news"));
            story
        };
        assert_eq!(messages(s.heard("a", ann)), ["four", "two", "one"]);
        assert_eq!(messages(s.heard("b", bob)), ["two", "one", "four"]);
        s
    },
};

pub(crate) const PARTITION_AND_MERGE: Story = Story {
    name: "partition_and_merge",
    proves: "both sides of a partition go on in views of their own; when they meet, nobody restarts, and each member
is told with whom it was together",
    clauses: "E2, E9, E12, E13, V2.2, V3.4, V4.1, V5.1, V6.3, G4, G5",
    tell: || {
        let mut s = Script::together(&["a", "b", "c", "d", "e"]);
        let (ann, dora) = (s.named("a", "ann", &["news"]), s.named("d", "dora", &["news"]));
        s.run(30 * MS);
        s.skip();
        s.say("The links between a b c and d e break.");
        for left in ["a", "b", "c"] {
            for right in ["d", "e"] {
                s.cut(left, right);
            }
        }
        s.run(60 * MS);
        s.say("Each side has its view. What is sent now, the other side never sees.");
        s.sends("a", ann, Service::Agreed, &["news"], "left");
        s.sends("d", dora, Service::Agreed, &["news"], "right");
        s.run(20 * MS);
        s.say("The links are back. Both views stand; a, the lowest of all, proposes to merge them whole.");
        for left in ["a", "b", "c"] {
            for right in ["d", "e"] {
                s.link(left, right);
            }
        }
        s.run(100 * MS);
        for daemon in ["a", "b", "c", "d", "e"] {
            assert_eq!(s.view_of(daemon), "a b c d e");
        }
        let whole = "news network #ann#a #dora#d";
        assert_eq!(s.heard("a", ann), ["news transitional", "news network #ann#a", "left", whole]);
        assert_eq!(s.heard("d", dora), ["news transitional", "news network #dora#d", "right", whole]);
        s
    },
};

pub(crate) const CRASH_DURING_RECOVERY: Story = Story {
    name: "crash_during_recovery",
    proves: "when a daemon crashes during a recovery, the rest begin again with what the first attempt brought",
    clauses: "E6, V3.3, V4.1, V4.3, V5.2, V5.3, V5.4, V7.1, V7.2",
    tell: || {
        let mut s = Script::together(&["a", "b", "c", "d"]);
        let (ann, bob) = (s.named("a", "ann", &["news"]), s.named("b", "bob", &["news"]));
        let dora = s.named("d", "dora", &["news"]);
        s.run(20 * MS);
        s.skip();
        s.say("dora's message reaches only c before d crashes.");
        s.slow_down("d", "a", NEVER);
        s.slow_down("d", "b", NEVER);
        s.sends("a", ann, Service::Agreed, &["news"], "hello");
        s.sends("d", dora, Service::Agreed, &["news"], "only c has this");
        s.run(5 * MS);
        s.crash("d");
        for daemon in ["a", "b", "c"] {
            s.cut_at(daemon, "d");
        }
        s.say("c has the longest prefix of what d sent, so c is to resend it. Its resend reaches a; from c to b all is
               slow now.");
        s.slow_down("c", "b", NEVER);
        s.run(4 * MS);
        s.say("Now c crashes as well. b never got the resend; b said that it accepts, but cannot recover. After
               a failure a waits a random time. In the second attempt a is the one that holds dora's message, and
               resends it: both deliver the same.");
        s.crash("c");
        s.cut_at("a", "c");
        s.cut_at("b", "c");
        s.run(100 * MS);
        assert_eq!(s.view_of("a"), "a b");
        assert_eq!(s.heard("a", ann), s.heard("b", bob));
        assert!(s.heard("a", ann).contains(&"only c has this".to_owned()), "{:?}", s.heard("a", ann));
        s
    },
};

pub(crate) const OBLIGATION: Story = Story {
    name: "obligation",
    proves: "who said that it recovered keeps to it: another may have installed on that word, delivered a Safe message,
and crashed",
    clauses: "E11, V5.1, V5.4, V6.2, V7.1",
    tell: || {
        let mut s = Script::together(&["a", "b", "c", "d"]);
        let (ann, bob) = (s.named("a", "ann", &["news"]), s.named("b", "bob", &["news"]));
        let cleo = s.named("c", "cleo", &["news"]);
        s.run(20 * MS);
        s.skip();
        s.say("d crashes, so its clock stands still. cleo's Safe message is above it, in a, b and c.");
        s.crash("d");
        s.sends("c", cleo, Service::Safe, &["news"], "signed");
        s.run(5 * MS);
        s.say("a, b and c go on together: T = a b c. From c to a and b all is slow, so that c hears that both have
               recovered, and they do not hear the same of c.");
        for daemon in ["a", "b", "c"] {
            s.cut_at(daemon, "d");
        }
        s.run(Duration::from_micros(2500));
        s.slow_down("c", "a", NEVER);
        s.slow_down("c", "b", NEVER);
        s.run(3 * MS);
        s.say("c has installed a b c, and has delivered the message in T, as its sender is in T. Then c crashes.");
        assert_eq!(s.view_of("c"), "a b c");
        assert_eq!(s.heard("c", cleo), ["signed"]);
        s.say("For the second attempt T is a b. The message is above the horizon, and its sender is not in T: but a and b
               are obliged to c, and deliver it.");
        s.crash("c");
        s.cut_at("a", "c");
        s.cut_at("b", "c");
        s.run(100 * MS);
        assert_eq!(s.view_of("a"), "a b");
        for (daemon, session) in [("a", ann), ("b", bob)] {
            assert!(s.heard(daemon, session).contains(&"signed".to_owned()), "{daemon} is obliged");
        }
        s
    },
};

pub(crate) const NON_TRANSITIVE: Story = Story {
    name: "non_transitive",
    proves: "when two of three cannot reach each other, disjoint views form that all are linked in, and they stay",
    clauses: "E2, V2.2, V3.4, V4.2, L1",
    tell: || {
        let mut s = Script::together(&["a", "b", "c"]);
        let bob = s.named("b", "bob", &["news"]);
        s.run(20 * MS);
        s.skip();
        s.say("The link between a and b breaks; both can still reach c. The view of all three does not stand: its
               members are not all linked.");
        s.cut("a", "b");
        s.run(200 * MS);
        s.say("c could have gone with either; a's proposal came first. Both views stand now. b remains linked with c, and
               c tells that a is in its view: b has no link to a, so it cannot merge, and nothing is sent any more.");
        s.run(5000 * MS);
        let views = [s.view_of("a"), s.view_of("b"), s.view_of("c")];
        assert_eq!(views, ["a c", "b", "a c"]);
        s.sends("b", bob, Service::Safe, &["news"], "alone");
        s.run(MS);
        assert_eq!(s.heard("b", bob).last().unwrap(), "alone");
        s
    },
};

pub(crate) const BROKEN_LINK: Story = Story {
    name: "broken_link",
    proves: "a link that broke is never used for the same view again, however soon it is back: a new view begins",
    clauses: "E3, E6, M2, V3.1, V3.2, V5.2, V6.1, V6.3",
    tell: || {
        let mut s = Script::together(&["a", "b", "c"]);
        let (ann, bob) = (s.named("a", "ann", &["news"]), s.named("b", "bob", &["news"]));
        s.run(20 * MS);
        s.skip();
        s.say("ann's message is on its way to b when the link breaks, and is lost; c gets it. A new link is there before
               anybody noticed. What comes on it begins behind a hole: it says nothing about the old view.");
        s.sends("a", ann, Service::Agreed, &["news"], "once more");
        s.drain();
        s.relink("a", "b");
        s.run(10 * MS);
        s.say("a waits a moment, for statuses that are on their way, and proposes. b's answer shows that it lacks ann's
               frame, and a, the lowest that has it, resends it. The members are the same as before, all came along, and
               no program is told anything: only the daemons' view is another.");
        s.run(100 * MS);
        assert_eq!(s.view_of("b"), "a b c");
        assert_eq!(s.heard("a", ann), ["once more"]);
        assert_eq!(s.heard("b", bob), ["once more"]);
        s
    },
};

pub(crate) const LARGE_MESSAGE: Story = Story {
    name: "large_message",
    proves: "a message of which only a part was sent when its view fell is sent whole in the next one, and delivered once",
    clauses: "E3, E4, F1, F4, O8, V3.1, V6.3",
    tell: || {
        let config = Config { window: 64 << 10, frame: 40 << 10, ..Config::default() };
        let mut s = Script::together_with(&["a", "b", "c"], &config);
        let ann = s.named("a", "ann", &[]);
        let bob = s.named("b", "bob", &["news"]);
        s.run(20 * MS);
        s.skip();
        s.say("A frame holds 40 KiB here, the window 64 KiB, and ann's message has 110,000 bytes. bob has just joined, by
               a message that fits a frame: there may be more of these, so only one frame at a time is under way.");
        s.note("a", "#ann#a sends 110000 bytes to news, agreed".to_owned());
        s.send("a", ann, Service::Agreed, &["news"], &"x".repeat(110_000));
        s.run(MS / 2);
        s.say("Before anybody confirms, c crashes. In the old view the message counts as not sent: b forgets its pieces,
               and a begins again when it knows the groups of the new view.");
        s.crash("c");
        s.cut_at("a", "c");
        s.cut_at("b", "c");
        s.run(50 * MS);
        assert_eq!(s.view_of("b"), "a b");
        let whole = s.heard("b", bob).iter().filter(|text| text.len() == 110_000).count();
        assert_eq!(whole, 1, "the message comes once, and whole");
        s
    },
};
