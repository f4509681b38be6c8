//! A run as a space-time diagram: daemons side by side, time downward, everything that passed between them.
//!
//! Time is not to scale: what happens close together is drawn apart, silence is cut short.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;

use stentor_membership::{Phase, Timestamp};

use crate::chronicle::{Chronicle, Kind, Moment};
use crate::report::Outcome;

const LEFT: usize = 190;
const COLUMN: usize = 210;
const TOP: f64 = 100.0;
/// How far apart the times of the margin are, at least.
const LABELS: f64 = 40.0;

const STYLE: &str = "
  svg { font: 11px sans-serif; background: white }
  .operational { stroke: #222; stroke-width: 2.5 }
  .gathering { stroke: #c22; stroke-width: 2.5; stroke-dasharray: 2 3 }
  .recovering { stroke: #d80; stroke-width: 2.5; stroke-dasharray: 6 3 }
  .paused { stroke: #bbb; stroke-width: 9 }
  .data { stroke: #58c; stroke-width: 0.7 }
  .agreement { stroke: #c22; stroke-width: 0.9 }
  .recovery { stroke: #d80; stroke-width: 0.9 }
  .lost { stroke-dasharray: 2 2 }
  .view { fill: #dfd; stroke: #272 }
  .transitional { fill: #fec; stroke: #b70; stroke-dasharray: 4 2 }
  .send { fill: #05a } .deliver { fill: #222 } .late { fill: #b70 } .fault { fill: #c0c } .time { fill: #888 }
  .mark { fill: #c22 }
";

/// Draws what happened within `window` of a run.
pub fn draw(outcome: &Outcome, chronicle: &Chronicle, window: &Range<Timestamp>) -> String {
    let scale = Scale::new(chronicle, window);
    let hosts = outcome.options.daemons;
    let mut drawing =
        Drawing { out: String::new(), scale, hosts, lists: BTreeMap::new(), labels: BTreeMap::new() };
    drawing.lanes(chronicle, window);
    for (at, moment) in chronicle.moments().iter().filter(|(at, _)| window.contains(at)) {
        drawing.moment(*at, moment);
    }
    drawing.lists();
    drawing.times();
    drawing.finish(outcome)
}

/// Where a time is drawn.
struct Scale {
    places: BTreeMap<Timestamp, f64>,
    end: f64,
}

impl Scale {
    fn new(chronicle: &Chronicle, window: &Range<Timestamp>) -> Self {
        let mut times: Vec<Timestamp> = Vec::new();
        for (at, moment) in chronicle.moments().iter().filter(|(at, _)| window.contains(at)) {
            times.push(*at);
            if let Moment::Frame { sent, .. } = moment {
                times.push((*sent).max(window.start));
            }
        }
        times.sort_unstable();
        times.dedup();
        let (mut places, mut end) = (BTreeMap::new(), TOP);
        let mut before = times.first().copied().unwrap_or_default();
        for time in times {
            let micros = time.since(before).as_secs_f64() * 1e6;
            end += 4.0 * (1.0 + micros / 20.0).ln();
            places.insert(time, end);
            before = time;
        }
        Self { places, end: end + 20.0 }
    }

    /// Times outside the window are at its ends.
    fn place(&self, at: Timestamp) -> f64 {
        let before = self.places.range(..=at).next_back();
        before.map_or(TOP, |(_, place)| *place)
    }
}

struct Drawing {
    out: String,
    scale: Scale,
    hosts: usize,
    /// By daemon, time and class: the messages that it sent or delivered at once.
    lists: BTreeMap<(usize, Timestamp, &'static str), List>,
    /// By daemon: where its last label is.
    labels: BTreeMap<usize, f64>,
}

/// Messages that stand together: their numbers, and more about them.
#[derive(Default)]
struct List {
    numbers: Vec<String>,
    texts: Vec<String>,
}

impl Drawing {
    /// The line of each daemon, in pieces: its phases, its pauses, and nothing where none runs.
    fn lanes(&mut self, chronicle: &Chronicle, window: &Range<Timestamp>) {
        for lane in 0..self.hosts {
            let mut since: Option<(Timestamp, &'static str)> = None;
            let mut paused_at = None;
            for (at, moment) in chronicle.moments() {
                let next = match moment {
                    Moment::Start { host, .. } if *host == lane => Some("operational"),
                    Moment::Phase { host, phase } if *host == lane => Some(class(*phase)),
                    Moment::End { host, .. } if *host == lane => None,
                    Moment::Paused { host, paused } if *host == lane => {
                        match paused_at.take() {
                            Some(from) => self.piece(lane, (from, *at), "paused", window),
                            None if *paused => paused_at = Some(*at),
                            None => {}
                        }
                        continue;
                    }
                    _ => continue,
                };
                if let Some((from, class)) = since {
                    self.piece(lane, (from, *at), class, window);
                }
                since = next.map(|class| (*at, class));
            }
            if let Some((from, class)) = since {
                self.piece(lane, (from, window.end), class, window);
            }
        }
    }

    fn piece(
        &mut self,
        lane: usize,
        (from, to): (Timestamp, Timestamp),
        class: &str,
        window: &Range<Timestamp>,
    ) {
        if to < window.start || from >= window.end {
            return;
        }
        let (x, y, end) = (column(lane), self.scale.place(from), self.scale.place(to));
        self.put(format_args!("<line class='{class}' x1='{x}' y1='{y:.1}' x2='{x}' y2='{end:.1}'/>"));
    }

    fn moment(&mut self, at: Timestamp, moment: &Moment) {
        let y = self.scale.place(at);
        match moment {
            Moment::Start { host, name } => self.mark(*host, y, &format!("{name} starts")),
            Moment::End { host, how } => self.mark(*host, y, how),
            Moment::Phase { .. } => {}
            Moment::Paused { host, paused } => {
                self.mark(*host, y, if *paused { "is paused" } else { "goes on" });
            }
            Moment::View { host, text } => self.label(*host, y, "view", text),
            Moment::Transitional { host, text } => self.label(*host, y, "transitional", text),
            Moment::Send { host, send, text } => self.list(*host, at, "send", *send, text),
            Moment::Deliver { host, send, transitional } => {
                let class = if *transitional { "late" } else { "deliver" };
                self.list(*host, at, class, *send, &format!("message {send}"));
            }
            Moment::Frame { from, to, sent, kind, text, lost } => {
                let (x1, y1, mut x2, mut y2) =
                    (column(*from), self.scale.place(*sent), column(*to), self.scale.place(at));
                let mut class = match kind {
                    Kind::Data => "data",
                    Kind::Agreement => "agreement",
                    Kind::Recovery => "recovery",
                }
                .to_owned();
                if *lost {
                    class += " lost";
                    (x2, y2) = (usize::midpoint(x1, x2), f64::midpoint(y1, y2));
                    self.put(format_args!("<text class='mark' x='{x2}' y='{y2:.1}'>×</text>"));
                }
                self.put(format_args!(
                    "<line class='{class}' x1='{x1}' y1='{y1:.1}' x2='{x2}' y2='{y2:.1}'><title>{sent} to {at}: {}</title></line>",
                    escape(text)
                ));
            }
            Moment::Fault { text } => {
                let width = column(self.hosts) - 40;
                self.put(format_args!(
                    "<line x1='100' x2='{width}' y1='{y:.1}' y2='{y:.1}' stroke='#c0c' stroke-width='0.4'/><text class='fault' \
                     x='4' y='{y:.1}'>{}</text>",
                    escape(text)
                ));
            }
        }
    }

    fn list(&mut self, host: usize, at: Timestamp, class: &'static str, send: usize, more: &str) {
        let List { numbers, texts } = self.lists.entry((host, at, class)).or_default();
        numbers.push(send.to_string());
        texts.push(more.to_owned());
    }

    /// What was sent and delivered: one text for each daemon and time, so that none hides another.
    fn lists(&mut self) {
        for ((host, at, class), List { numbers, texts }) in std::mem::take(&mut self.lists) {
            let (x, y, title) = (column(host), self.scale.place(at), escape(&texts.join("\n")));
            let numbers = numbers.join(" ");
            if class == "send" {
                self.put(format_args!(
                    "<text class='send' x='{}' y='{y:.1}' text-anchor='end'>{numbers} →<title>{at} sends\n{title}</title></text>",
                    x - 5
                ));
            } else {
                self.put(format_args!(
                    "<text class='{class}' x='{}' y='{y:.1}'>• {numbers}<title>{at} delivers\n{title}</title></text>",
                    x + 5
                ));
            }
        }
    }

    fn mark(&mut self, host: usize, y: f64, text: &str) {
        let x = column(host);
        self.put(format_args!(
            "<circle class='mark' cx='{x}' cy='{y:.1}' r='3'/><text class='mark' x='{}' y='{:.1}'>{}</text>",
            x + 8,
            y - 6.0,
            escape(text)
        ));
    }

    fn label(&mut self, host: usize, y: f64, class: &str, text: &str) {
        let last = self.labels.insert(host, y).unwrap_or(0.0);
        // Two at the same time are one under the other.
        let y = y.max(last + 16.0);
        self.labels.insert(host, y);
        let (x, width) = (column(host) + 30, 7 * text.len() + 8);
        self.put(format_args!(
            "<rect class='{class}' x='{x}' y='{:.1}' width='{width}' height='15' rx='4'/><text x='{}' y='{:.1}'>{}</text>",
            y - 11.0,
            x + 4,
            y,
            escape(text)
        ));
    }

    /// Times in the margin, as many as there is room for.
    fn times(&mut self) {
        let mut last = 0.0;
        let places: Vec<(Timestamp, f64)> = self.scale.places.iter().map(|(at, y)| (*at, *y)).collect();
        for (at, y) in places {
            if y - last >= LABELS {
                last = y;
                let x = LEFT - 60;
                self.put(format_args!("<text class='time' x='{x}' y='{y:.1}' text-anchor='end'>{at}</text>"));
            }
        }
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "{element}");
    }

    fn finish(self, outcome: &Outcome) -> String {
        let (width, height) = (column(self.hosts).max(700), self.scale.end);
        let mut heads = String::new();
        for host in 0..self.hosts {
            let _ = write!(
                heads,
                "<text x='{}' y='70' font-weight='bold' font-size='14'>d{host:02}</text>",
                column(host) - 10
            );
        }
        let verdict = outcome.violations.first().map_or_else(
            || "no violation".to_owned(),
            |first| first.to_string().lines().next().unwrap_or_default().to_owned(),
        );
        format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height:.0}'>\n<style>{STYLE}</style>\n\
             <text x='10' y='20' font-size='15'>seed {}{}: {}</text>\n\
             <text x='10' y='36' class='time'>Time runs downward, not to scale. Blue: data, red: agreement, orange: recovery, \
             ×: lost. Daemons: dotted while gathering, dashed while recovering, grey while paused.</text>\n\
             <text x='10' y='50' class='time'>Left of a daemon what its clients send, right of it what it delivers (orange: in a \
             transitional configuration). Point at anything for details.</text>\n{heads}\n{}</svg>\n",
            outcome.options.seed,
            outcome.options.overrides,
            escape(&verdict),
            self.out
        )
    }
}

fn column(host: usize) -> usize {
    LEFT + host * COLUMN
}

fn class(phase: Phase) -> &'static str {
    match phase {
        Phase::Operational => "operational",
        Phase::Gathering => "gathering",
        Phase::Recovering => "recovering",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&apos;")
}
