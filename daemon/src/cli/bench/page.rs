//! A page with plots that needs nothing else: no script, no file, no network.

use std::fmt::Write;

use super::load::Round;
use super::report::{Report, Summary, grouped};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const MARGIN: f64 = 70.0;
const COLOURS: [&str; 3] = ["#2266aa", "#cc6600", "#aa2222"];

/// A line of a plot.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// One plot, both axes logarithmic where it says so.
struct Plot {
    title: &'static str,
    x: &'static str,
    y: &'static str,
    log_x: bool,
    lines: Vec<Line>,
    /// The marks of the x axis, and their texts.
    marks: Vec<(f64, String)>,
}

/// The page.
pub(super) fn html(report: &Report) -> String {
    let mut plots = String::new();
    for plot in [latency(report), throughput(&report.over_size), load(&report.over_load)]
        .into_iter()
        .chain(report.rounds.first().and_then(memory))
    {
        plot.draw(&mut plots);
    }
    format!(
        "<!DOCTYPE html>\n<html lang='en'><meta charset='utf-8'><title>stentor bench</title>\n\
         <style>body {{ font: 15px sans-serif; max-width: 46em; margin: 2em auto }} pre {{ font-size: 13px }} svg {{ font: 12px \
         sans-serif }}</style>\n<h1>stentor bench</h1>\n<p>{} {}</p>\n<pre>{}</pre>\n{plots}</html>\n",
        concat!("Version ", env!("CARGO_PKG_VERSION"), "."),
        escape(&machine()),
        escape(&report.text()),
    )
}

/// What it ran on.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("of a kind that is not known", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{cores} cores, {model}.")
}

fn latency(report: &Report) -> Plot {
    let mut lines = vec![distribution("this load", &report.summary())];
    lines.extend(report.ping.as_ref().map(|ping| distribution("one at a time", ping)));
    let nines = |share: f64| -(1.0 - share).log10();
    let marks = [0.5, 0.9, 0.99, 0.999, 0.9999];
    Plot {
        title: "How long messages take",
        x: "share of the messages",
        y: "µs",
        log_x: false,
        lines,
        marks: marks.map(|share| (nines(share), format!("{} %", share * 100.0))).into(),
    }
}

fn distribution(name: &str, summary: &Summary) -> Line {
    let points = summary.distribution.iter().filter(|(share, _)| *share < 0.99999);
    Line {
        name: name.to_owned(),
        points: points.map(|(share, micros)| (-(1.0 - share).log10(), *micros)).collect(),
    }
}

fn throughput(over_size: &[Summary]) -> Plot {
    let line = |name: &str, value: &dyn Fn(&Summary) -> f64| Line {
        name: name.to_owned(),
        points: over_size.iter().map(|s| (s.load.size as f64, value(s))).collect(),
    };
    let lines = vec![
        line("messages a second", &|s| s.msgs_per_s.median),
        line("MB a second", &|s| s.mb_per_s.median),
    ];
    let marks = over_size.iter().map(|s| (s.load.size as f64, bytes(s.load.size))).collect();
    Plot { title: "Throughput over size", x: "bytes of a message", y: "a second", log_x: true, lines, marks }
}

fn load(over_load: &[Summary]) -> Plot {
    let line = |name: &str, at: usize| Line {
        name: name.to_owned(),
        points: over_load.iter().map(|s| (s.msgs_per_s.median, s.latency_us[at].median)).collect(),
    };
    let marks = over_load.iter().map(|s| (s.msgs_per_s.median, grouped(s.msgs_per_s.median, 0))).collect();
    Plot {
        title: "Latency over load",
        x: "messages a second",
        y: "µs",
        log_x: false,
        lines: vec![line("p50", 0), line("p99", 1), line("p99.9", 2)],
        marks,
    }
}

/// Of the first round; nothing if the daemons are not ours.
fn memory(round: &Round) -> Option<Plot> {
    let points: Vec<_> =
        round.memory.iter().map(|(at, bytes)| (at.as_secs_f64(), *bytes as f64 / 1e6)).collect();
    let last = points.last()?.0;
    let marks = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| (share * last, format!("{:.1}", share * last)));
    Some(Plot {
        title: "Memory of the largest daemon",
        x: "seconds of the first round",
        y: "MB",
        log_x: false,
        lines: vec![Line { name: "resident".to_owned(), points }],
        marks: marks.into(),
    })
}

fn bytes(size: usize) -> String {
    match size {
        size if size >= 1 << 20 => format!("{}M", size >> 20),
        size if size >= 1 << 10 => format!("{}K", size >> 10),
        size => size.to_string(),
    }
}

impl Plot {
    fn draw(&self, out: &mut String) {
        let points = || self.lines.iter().flat_map(|line| &line.points).filter(|(_, y)| *y > 0.0);
        let x_of = |x: f64| if self.log_x { x.max(1.0).log10() } else { x };
        let (left, right) =
            range(points().map(|(x, _)| x_of(*x)).chain(self.marks.iter().map(|m| x_of(m.0))));
        let (low, high) = range(points().map(|(_, y)| y.log10()));
        let (low, high) = (low.floor(), high.ceil().max(low.floor() + 1.0));
        let place = |x: f64, y: f64| {
            let across = (x_of(x) - left) / (right - left) * (WIDTH - 2.0 * MARGIN);
            let up = (y.max(1e-9).log10() - low) / (high - low) * (HEIGHT - 2.0 * MARGIN);
            (MARGIN + across, HEIGHT - MARGIN - up)
        };
        // Writing to memory does not fail.
        let _ = writeln!(out, "<h2>{}</h2>\n<svg width='{WIDTH}' height='{HEIGHT}'>", self.title);
        let mut decade = low;
        while decade <= high {
            let y = HEIGHT - MARGIN - (decade - low) / (high - low) * (HEIGHT - 2.0 * MARGIN);
            let text = grouped(10f64.powf(decade), if decade < 0.0 { 2 } else { 0 });
            let _ = writeln!(
                out,
                "<line x1='{MARGIN}' x2='{}' y1='{y:.1}' y2='{y:.1}' stroke='#ddd'/><text x='{}' y='{:.1}' \
                 text-anchor='end'>{text}</text>",
                WIDTH - MARGIN,
                MARGIN - 6.0,
                y + 4.0
            );
            decade += 1.0;
        }
        for (mark, text) in &self.marks {
            let (x, _) = place(*mark, 1.0);
            let y = HEIGHT - MARGIN + 18.0;
            let _ = writeln!(out, "<text x='{x:.1}' y='{y}' text-anchor='middle'>{text}</text>");
        }
        for ((number, line), colour) in self.lines.iter().enumerate().zip(COLOURS) {
            let place = |(x, y): &(f64, f64)| {
                let (x, y) = place(*x, *y);
                format!("{x:.1},{y:.1}")
            };
            let path: Vec<String> = line.points.iter().filter(|(_, y)| *y > 0.0).map(place).collect();
            let _ = writeln!(
                out,
                "<polyline points='{}' fill='none' stroke='{colour}' stroke-width='2'/><text x='{}' y='{}' \
                 fill='{colour}'>{}</text>",
                path.join(" "),
                MARGIN + 10.0,
                20.0 + 16.0 * number as f64,
                line.name
            );
        }
        let _ = writeln!(
            out,
            "<text x='{}' y='{}' text-anchor='middle'>{}</text><text x='10' y='{}'>{}</text></svg>",
            WIDTH / 2.0,
            HEIGHT - 12.0,
            self.x,
            MARGIN - 20.0,
            self.y
        );
    }
}

/// The least and the greatest, never the same.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low.is_finite() && high > low { (low, high) } else { (0.0, 1.0) }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
