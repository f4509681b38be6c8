//! Nothing goes wrong.

use std::time::Duration;

use stentor_membership::{Config, Service};

use super::super::Story;
use super::super::script::Script;

const MS: Duration = Duration::from_millis(1);

pub(crate) const FIRST_VIEW: Story = Story {
    name: "first_view",
    proves: "daemons that were alone merge into one view, and know all groups before any program may send",
    clauses: "E1, E2, V2.1, V3.4, V4.1, V4.3, V4.4, V5.4, V6.3, G3.1, G3.2, G4",
    tell: || {
        let mut s = Script::alone(&["a", "b", "c"]);
        s.skip();
        s.say("Each daemon is in a view of its own. A program is there already, on c; alone, c orders by itself.");
        let cleo = s.joins("c", "cleo", "news");
        s.run(MS);
        s.say("The links come up, and each daemon tells its status. a has the lowest id: it is to propose the view
               of all, after 50 ms, in which more may come. Here all links are up at once.");
        s.link("a", "b");
        s.link("a", "c");
        s.link("b", "c");
        s.run(80 * MS);
        s.say("All have installed the view, each with itself alone as the one that came along, and each has told its
               sessions' groups. Once nobody has to say anything, nothing is sent but heartbeats.");
        s.run(500 * MS);
        for daemon in ["a", "b", "c"] {
            assert_eq!(s.view_of(daemon), "a b c");
        }
        assert_eq!(s.heard("c", cleo), ["news join #cleo#c"]);
        s
    },
};

pub(crate) const JOIN: Story = Story {
    name: "join",
    proves: "a join has its place in the order of messages: all see it between the same two messages",
    clauses: "E9, E13, O1, O2, O4.1, O4.2, O5.2, G1, G6",
    tell: || {
        let mut s = Script::together(&["a", "b", "c"]);
        let ann = s.joins("a", "ann", "news");
        s.run(20 * MS);
        s.skip();
        s.say("ann on a is in the group. She sends, and at the same time bob joins on b: both frames have the same
               clock, and the lower rank, a's, comes first. So ann's message is before bob's join, and he does not
               get it.");
        s.sends("a", ann, Service::Agreed, &["news"], "before");
        let bob = s.joins("b", "bob", "news");
        s.run(3 * MS);
        s.say("All is delivered. Only memory waits for the horizons: they are told 5 ms later, if no frame goes anyway.");
        s.run(17 * MS);
        s.say("Now that bob is in, a message from anywhere reaches him; its sender need not be a member.");
        let cleo = s.named("c", "cleo", &[]);
        s.sends("c", cleo, Service::Agreed, &["news"], "after");
        s.run(20 * MS);
        assert_eq!(s.heard("a", ann), ["before", "news join #ann#a #bob#b", "after"]);
        assert_eq!(s.heard("b", bob), ["news join #ann#a #bob#b", "after"]);
        s
    },
};

pub(crate) const ONE_SENDS: Story = Story {
    name: "one_sends",
    proves: "where one daemon sends, its messages wait for no answers; the first message of another one does",
    clauses: "E9, O1, O2, O4.2, O4.5, O5.2",
    tell: || {
        let mut s = Script::together(&["a", "b", "c"]);
        let (ann, bob) = (s.named("a", "ann", &["news"]), s.named("b", "bob", &["news"]));
        s.run(20 * MS);
        for _ in 0..50 {
            s.sends("a", ann, Service::Agreed, &["news"], "one of many");
            s.run(3 * MS);
        }
        s.run(20 * MS);
        s.skip();
        s.say("ann has sent for a while, and nobody else: b and c have announced clocks that are ahead of hers. Her next
               message is delivered at once, and by b on receipt. Only memory waits for what is said 5 ms later, and with
               it their clocks go ahead again.");
        s.sends("a", ann, Service::Agreed, &["news"], "the next");
        s.run(10 * MS);
        s.say("bob's message comes after the clock that b has announced. c's is not behind it, a's is: a answers.");
        s.sends("b", bob, Service::Agreed, &["news"], "mine");
        s.run(3 * MS);
        s.say("ann's next message comes after bob's, and so after the clock of b, which answers. b has just sent, so it goes
               ahead less than before.");
        s.sends("a", ann, Service::Agreed, &["news"], "thanks");
        s.run(10 * MS);
        assert_eq!(s.heard("a", ann), ["the next", "mine", "thanks"]);
        assert_eq!(s.heard("b", bob), ["the next", "mine", "thanks"]);
        s
    },
};

pub(crate) const SAFE: Story = Story {
    name: "safe",
    proves: "a Safe message is delivered when every member has it, and holds back what is ordered after it",
    clauses: "E10, E11, O3, O4.1, O5.1, O5.2, O5.3, O6",
    tell: || {
        let mut s = Script::together(&["a", "b", "c"]);
        let (ann, bob) = (s.named("a", "ann", &["news"]), s.named("b", "bob", &["news"]));
        s.run(20 * MS);
        s.skip();
        s.say("The link from a to c has become slow: 10 ms. ann sends a Safe message; with it goes a Fifo message of
               bob's, who need not wait for anybody.");
        s.slow_down("a", "c", 10 * MS);
        s.sends("a", ann, Service::Safe, &["news"], "sign here");
        s.sends("b", bob, Service::Fifo, &["news"], "quick");
        s.run(5 * MS);
        s.say("b has ann's message, but nobody knows that c has it. What bob sends now, Agreed, is ordered after it
               and waits as well.");
        s.sends("b", bob, Service::Agreed, &["news"], "and then");
        s.run(60 * MS);
        assert_eq!(s.heard("a", ann), ["quick", "sign here", "and then"]);
        assert_eq!(s.heard("b", bob), ["quick", "sign here", "and then"]);
        s
    },
};

pub(crate) const SMALL_AND_LARGE: Story = Story {
    name: "small_and_large",
    proves: "a small message passes all of a large one that is not under way yet, and that is no more than has to be",
    clauses: "F1, F3, F4, O4.2, O8",
    tell: || {
        // A 96th of this window is 2 KiB.
        let config = Config { window: 192 << 10, frame: 1 << 10, ..Config::default() };
        let mut s = Script::together_with(&["a", "b", "c"], &config);
        let (ann, bob) = (s.named("a", "ann", &[]), s.named("b", "bob", &["news"]));
        let amy = s.named("a", "amy", &["chat"]);
        s.run(20 * MS);
        s.skip();
        s.say("A frame holds 1 KiB here. ann's message needs six of them, and there have been small ones: as soon as 2 KiB
               are under way, the rest waits until they are confirmed.");
        s.note("a", "#ann#a sends 6000 bytes to news, agreed".to_owned());
        s.send("a", ann, Service::Agreed, &["news"], &"x".repeat(6000));
        s.run(MS / 2);
        s.say("amy's small message need not wait for the rest of ann's.");
        s.sends("a", amy, Service::Agreed, &["chat"], "psst");
        s.run(2 * MS);
        s.say("When b and c know that all of it is here, it is enough to be confirmed at once, and ann's message goes on.");
        s.run(37 * MS);
        s.say("c's confirmations become slow now: 20 ms. As what is under way gets old, more may be, for a path may be as
               long as that: twice as much for each 5 ms.");
        s.slow_down("c", "a", 20 * MS);
        s.note("a", "#ann#a sends 12000 bytes to news, agreed".to_owned());
        s.send("a", ann, Service::Agreed, &["news"], &"x".repeat(12_000));
        s.run(60 * MS);
        let chat = s.heard("a", amy);
        assert_eq!(chat[chat.len() - 1], "psst");
        assert_eq!(s.heard("b", bob).iter().map(String::len).collect::<Vec<_>>(), [6000, 12_000]);
        s
    },
};

pub(crate) const ORDERLY_LEAVE: Story = Story {
    name: "orderly_leave",
    proves: "a daemon that stops in order costs the others no timeout, and nothing that it sent is lost",
    clauses: "D2, E5, V3.1, V3.4, V4.3, V6.1, V6.2, V6.3, G4, G5",
    tell: || {
        let mut s = Script::together(&["a", "b", "c"]);
        let (bob, cleo) = (s.named("b", "bob", &["news"]), s.named("c", "cleo", &["news"]));
        s.run(20 * MS);
        s.skip();
        s.say("cleo sends a last message; when c knows that everybody has it, c says that it leaves.");
        s.sends("c", cleo, Service::Agreed, &["news"], "farewell");
        for _ in 0..100 {
            if s.node("c").has_unfinished_sends() {
                s.run(MS);
            }
        }
        assert!(!s.node("c").has_unfinished_sends());
        s.say("Who gets a `Leave` gives the link up: no suspicion is needed.");
        s.stop("c");
        s.run(100 * MS);
        assert_eq!(s.view_of("a"), "a b");
        assert_eq!(s.heard("b", bob), ["farewell", "news transitional", "news network #bob#b"]);
        s
    },
};
