//! What a message cost when somebody last looked at it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// What a figure may move before anything is said, in parts of the baseline.
const TOLERANCE: f64 = 0.05;

/// The instructions of one body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    pub(crate) name: String,
    /// For one message.
    pub(crate) instructions: f64,
}

/// What figures depend on beside the code.
#[derive(Debug, PartialEq)]
pub(crate) struct Origin {
    /// As `rustc --version` says it.
    pub(crate) compiler: String,
    pub(crate) architecture: String,
}

/// The figures of a file.
#[derive(Debug, PartialEq)]
pub(crate) struct Baseline {
    pub(crate) origin: Origin,
    pub(crate) figures: Vec<Figure>,
}

/// What came of a body, the least serious first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Same,
    Cheaper,
    /// In the baseline alone, or only here.
    Unmatched,
    Dearer,
}

impl Verdict {
    pub(crate) fn fails(self) -> bool {
        self >= Self::Unmatched
    }

    /// What is to be done about the most serious one.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Same => "all within 5 % of the baseline",
            Self::Cheaper => {
                "some cost over 5 % less than the baseline: renew it, so that the gain is kept: UPDATE=1 cargo instructions"
            }
            Self::Unmatched => "the baseline is of other bodies: renew it: UPDATE=1 cargo instructions",
            Self::Dearer => {
                "FAILED: some cost over 5 % more than the baseline. `valgrind --tool=callgrind target/release/instructions \
                 BODY --steps 100` shows where. If it is worth it, say why in the commit, and renew the baseline: UPDATE=1 \
                 cargo instructions"
            }
        }
    }
}

/// One body, before and now.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    before: Option<f64>,
    now: Option<f64>,
    pub(crate) verdict: Verdict,
}

impl Row {
    fn new(before: Option<f64>, now: Option<f64>) -> Self {
        let verdict = match (before, now) {
            (Some(before), Some(now)) if now > before * (1.0 + TOLERANCE) => Verdict::Dearer,
            (Some(before), Some(now)) if now < before * (1.0 - TOLERANCE) => Verdict::Cheaper,
            (Some(_), Some(_)) => Verdict::Same,
            _ => Verdict::Unmatched,
        };
        Self { before, now, verdict }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for side in [self.before, self.now] {
            match side {
                Some(instructions) => write!(f, "{instructions:>10.1}")?,
                None => write!(f, "{:>10}", "-")?,
            }
        }
        if let (Some(before), Some(now)) = (self.before, self.now) {
            write!(f, "{:>+8.2} %", (now / before - 1.0) * 100.0)?;
        }
        f.write_str(match self.verdict {
            Verdict::Same => "",
            Verdict::Cheaper => "  CHEAPER",
            Verdict::Unmatched => "  UNMATCHED",
            Verdict::Dearer => "  DEARER",
        })
    }
}

impl Baseline {
    /// # Errors
    /// If there is none, or it is not one.
    pub(crate) fn read() -> Result<Self> {
        let file = Self::file();
        let text = std::fs::read_to_string(&file).with_context(|| {
            format!("no baseline {}: make one: UPDATE=1 cargo instructions", file.display())
        })?;
        Self::parse(&text).with_context(|| format!("{} is damaged", file.display()))
    }

    /// Writes the baseline anew; says where.
    ///
    /// # Errors
    /// If that is not possible.
    pub(crate) fn write(&self, date: &str) -> Result<String> {
        let file = Self::file();
        std::fs::write(&file, self.text(date)).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(format!("wrote {}: read the difference", file.display()))
    }

    /// Every body of the baseline or of `figures` with `word` in its name, sorted.
    pub(crate) fn compare(&self, figures: &[Figure], word: &str) -> BTreeMap<String, Row> {
        let by_name = |figures: &[Figure]| -> BTreeMap<_, _> {
            figures.iter().map(|figure| (figure.name.clone(), figure.instructions)).collect()
        };
        let (before, now) = (by_name(&self.figures), by_name(figures));
        let names = before.keys().chain(now.keys()).filter(|name| name.contains(word));
        names
            .map(|name| (name.clone(), Row::new(before.get(name).copied(), now.get(name).copied())))
            .collect()
    }

    fn file() -> PathBuf {
        // Of the checkout that cargo runs this in: checkouts that share a target directory also share this program.
        let directory = std::env::var_os("CARGO_MANIFEST_DIR");
        let directory = directory.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        PathBuf::from(directory).join("instructions.txt")
    }

    fn text(&self, date: &str) -> String {
        let Self { origin: Origin { compiler, architecture }, figures } = self;
        let mut text = format!(
            "# Instructions a message, as `cargo instructions` counts them. Written by: UPDATE=1 cargo instructions\n\
             # date: {date}\n# profile: release\n# compiler: {compiler}\n# architecture: {architecture}\n"
        );
        for Figure { name, instructions } in figures {
            text += &format!("{name:<36}{instructions:>10.1}\n");
        }
        text
    }

    fn parse(text: &str) -> Result<Self> {
        let head = |key: &str| {
            let value =
                text.lines().find_map(|line| line.strip_prefix("# ")?.strip_prefix(key)?.strip_prefix(": "));
            value.map(str::to_owned).with_context(|| format!("no line `# {key}: ..`"))
        };
        let origin = Origin { compiler: head("compiler")?, architecture: head("architecture")? };
        let rows = text.lines().filter(|line| !line.starts_with('#'));
        let figures =
            rows.map(|row| figure(row).with_context(|| format!("{row:?}: not a name and a number")));
        Ok(Self { origin, figures: figures.collect::<Result<_>>()? })
    }
}

fn figure(row: &str) -> Option<Figure> {
    let (name, number) = row.split_once(' ')?;
    let instructions =
        number.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0)?;
    Some(Figure { name: name.to_owned(), instructions })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(some: &[(&str, f64)]) -> Vec<Figure> {
        some.iter().map(|&(name, instructions)| Figure { name: name.to_owned(), instructions }).collect()
    }

    fn baseline(some: &[(&str, f64)]) -> Baseline {
        let origin = Origin { compiler: "rustc 1.95.0".to_owned(), architecture: "x86_64".to_owned() };
        Baseline { origin, figures: figures(some) }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let written = baseline(&[("a/b", 12.5), ("c", 2000.0)]);
        assert_eq!(Baseline::parse(&written.text("2026-11-23")).unwrap(), written);
    }

    #[test]
    fn a_damaged_file_says_where() {
        let text = baseline(&[("a", 1.0)]).text("2026-11-23");
        for (damaged, says) in [
            (text.replace("# compiler", "# compeller"), "compiler"),
            (text.replace("1.0\n", "one\n"), "not a name and a number"),
            (text.replace("1.0\n", "NaN\n"), "not a name and a number"),
            (format!("{text}\n"), "not a name and a number"),
        ] {
            let error = format!("{:#}", Baseline::parse(&damaged).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn five_per_cent_more_fail_and_five_per_cent_less_are_told() {
        let old = baseline(&[("a", 100.0), ("b", 100.0), ("c", 100.0), ("d", 100.0), ("gone", 1.0)]);
        let now = figures(&[("a", 104.9), ("b", 105.1), ("c", 95.1), ("d", 94.9), ("new", 1.0)]);
        let verdicts: Vec<_> = old.compare(&now, "").into_values().map(|row| row.verdict).collect();
        use Verdict::{Cheaper, Dearer, Same, Unmatched};
        assert_eq!(verdicts, [Same, Dearer, Same, Cheaper, Unmatched, Unmatched]);
        assert_eq!([Same, Cheaper, Unmatched, Dearer].map(Verdict::fails), [false, false, true, true]);
        assert_eq!(old.compare(&now[..1], "a").len(), 1, "the others were not asked for");
    }
}
