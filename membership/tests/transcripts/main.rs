//! Conversations of daemons as texts to read, one file each: `UPDATE=1` writes them anew.
//!
//! A story is a function that does things to daemons and checks what it proves; the text is the log of what happened.
#![expect(clippy::unwrap_used, reason = "a test may stop at what must not happen")]

#[path = "../net/mod.rs"]
mod net;
mod script;
mod stories;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use script::Script;

/// A conversation worth reading.
struct Story {
    /// The file, and in the text the title.
    name: &'static str,
    /// What is proved.
    proves: &'static str,
    /// The clauses of PROTOCOL.md at work.
    clauses: &'static str,
    tell: fn() -> Script,
}

const LEGEND: &str = "\
Times are in milliseconds; a frame takes one, if nothing else is said. `a → b c` a sends, `b c ← a` they receive,
`a |` something happens at a, `a *` something is done to a. Views are written epoch@proposer. Heartbeats are left out.";

impl Story {
    fn text(&self) -> String {
        let told = (self.tell)().finish();
        let title = self.name.replace('_', " ");
        format!("{title}\n\nProves: {}\nClauses: {}\n\n{LEGEND}\n{told}", self.proves, self.clauses)
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

#[test]
fn daemons_talk_as_it_is_written() {
    let update = std::env::var_os("UPDATE").is_some();
    for story in stories::ALL {
        let file = folder().join(story.name).with_extension("txt");
        let text = story.text();
        if update {
            fs::write(&file, &text).unwrap();
        }
        let written = fs::read_to_string(&file).unwrap_or_default();
        let differ = text.lines().zip(written.lines()).enumerate().find(|(_, (now, before))| now != before);
        if let Some((at, (now, before))) = differ {
            let name = story.name;
            panic!("{name}.txt, line {}:\nwritten: {before}\nnow:     {now}\nUPDATE=1 if it may", at + 1);
        }
        assert_eq!(text.len(), written.len(), "{}.txt: UPDATE=1 if it may be so", story.name);
    }
}

#[test]
fn every_text_has_a_story_and_names_clauses_that_exist() {
    let protocol = fs::read_to_string(folder().join("../../../PROTOCOL.md")).unwrap();
    for story in stories::ALL {
        for clause in story.clauses.split(", ") {
            assert!(protocol.contains(&format!("**{clause}**")), "{}: there is no {clause}", story.name);
        }
    }
    let texts = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    for text in texts.filter(|path| path.extension().is_some_and(|ending| ending == "txt")) {
        let known = stories::ALL.iter().any(|story| text.file_stem().is_some_and(|name| name == story.name));
        assert!(known, "no story is told in {}", text.display());
    }
}
