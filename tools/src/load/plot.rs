//! Bar charts of a comparison, one SVG for each unit: a group of bars for each row, a bar for each server. Where the
//! greatest value is more than [`LOG_FROM`] times the least, the axis is logarithmic and says so. Colours follow the
//! reader's light or dark scheme.

use super::comparison::Comparison;
use super::report::number;
use std::fmt::Write as _;

/// Above this ratio the small bars of a linear axis could not be seen.
const LOG_FROM: f64 = 20.0;

/// Pixels: the whole, where bars begin and end at most, the heights of a bar, a group's name, the heading.
const WIDTH: f64 = 900.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 820.0;
const BAR: f64 = 18.0;
const NAME: f64 = 26.0;
const HEAD: f64 = 62.0;
const FOOT: f64 = 20.0;

const STYLE: &str = "\
text{font:13px sans-serif;fill:#1f2328;paint-order:stroke;stroke:#fff;stroke-width:3px}.back{fill:#fff}.small{font-size:12px;fill:#59636e}.head{font-size:16px;font-weight:bold}\
.grid{stroke:#d1d9e0;stroke-width:1}.s0{fill:#0969da}.s1{fill:#bf8700}.s2{fill:#1a7f37}.s3{fill:#cf222e}.s4{fill:#8250df}.s5{fill:#57606a}\
@media(prefers-color-scheme:dark){text{fill:#f0f6fc;stroke:#0d1117}.back{fill:#0d1117}.small{fill:#9198a1}.grid{stroke:#3d444d}\
.s0{fill:#4493f8}.s1{fill:#d29922}.s2{fill:#3fb950}.s3{fill:#f85149}.s4{fill:#ab7df8}.s5{fill:#9198a1}}";
/// Colours in the style; further servers begin again with the first.
const COLOURS: usize = 6;

/// A file's name without `.svg`, the axis' title, and whether more is better.
fn describe(unit: &str) -> Option<(&'static str, &'static str, bool)> {
    Some(match unit {
        "CPU-s" => ("cpu", "CPU seconds of the server", false),
        "B" => ("bytes", "bytes", false),
        "MiB" => ("memory", "memory, MiB", false),
        "ms" => ("latency", "milliseconds", false),
        "/s" => ("rate", "a second", true),
        _ => return None,
    })
}

/// Where values lie between [`LEFT`] and [`RIGHT`].
struct Axis {
    from: f64,
    to: f64,
    log: bool,
}

impl Axis {
    fn of(values: &[f64]) -> Axis {
        let positive = || values.iter().copied().filter(|value| *value > 0.0);
        let (least, most) = (positive().fold(f64::INFINITY, f64::min), positive().fold(0.0, f64::max));
        if most == 0.0 {
            return Axis { from: 0.0, to: 1.0, log: false };
        }
        if most <= least * LOG_FROM {
            let step = step(most);
            return Axis { from: 0.0, to: (most / step).ceil() * step, log: false };
        }
        // The least value has a bar, too.
        let from = 10f64.powf((least / 1.5).log10().floor());
        Axis { from, to: 10f64.powf(most.log10().ceil()), log: true }
    }

    fn x(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.from) / self.from).log10() / (self.to / self.from).log10()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        LEFT + share.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    /// At most some ten.
    fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        let mut at = self.from;
        while at <= self.to * 1.0001 && ticks.len() < 20 {
            ticks.push(at);
            at = if self.log { at * 10.0 } else { at + step(self.to) };
        }
        ticks
    }
}

/// 1, 2 or 5 times a power of ten: four to ten of them make `most`.
fn step(most: f64) -> f64 {
    let power = 10f64.powf(most.log10().floor());
    match most / power {
        share if share <= 2.0 => power / 5.0,
        share if share <= 5.0 => power / 2.0,
        _ => power,
    }
}

/// Name of the file and its SVG, for each unit of which there is a figure.
#[must_use]
pub fn charts(comparison: &Comparison) -> Vec<(String, String)> {
    let mut units: Vec<&str> = Vec::new();
    for (_, unit) in &comparison.rows {
        if !units.contains(&unit.as_str()) {
            units.push(unit);
        }
    }
    let chart = |unit: &&str| {
        let (file, title, more) = describe(unit)?;
        let rows: Vec<&str> =
            comparison.rows.iter().filter(|(_, other)| other == unit).map(|(name, _)| name.as_str()).collect();
        Some((format!("{file}.svg"), chart(comparison, &rows, title, more)))
    };
    units.iter().filter_map(chart).collect()
}

fn chart(comparison: &Comparison, rows: &[&str], title: &str, more_is_better: bool) -> String {
    let cells = |row: &str| -> Vec<(usize, &str, f64)> {
        let labels = comparison.labels.iter().enumerate();
        labels.filter_map(|(at, label)| Some((at, label.as_str(), comparison.cell(row, label)?))).collect()
    };
    let values: Vec<f64> = rows.iter().flat_map(|row| cells(row)).map(|(_, _, value)| value).collect();
    let axis = Axis::of(&values);
    let height = HEAD + rows.iter().map(|row| NAME + cells(row).len() as f64 * BAR).sum::<f64>() + FOOT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    let better = if more_is_better { "more is better" } else { "less is better" };
    let scale = if axis.log { ", logarithmic" } else { "" };
    let _ = writeln!(svg, "<text class=\"head\" x=\"10\" y=\"24\">{title}{scale}; {better}</text>");
    for tick in axis.ticks() {
        let (x, bottom) = (axis.x(tick), height - FOOT);
        let _ = writeln!(svg, "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{HEAD}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>");
        let label = short(tick);
        let y = HEAD - 6.0;
        let _ = writeln!(svg, "<text class=\"small\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>");
    }
    let mut y = HEAD;
    for row in rows {
        let _ = writeln!(svg, "<text x=\"10\" y=\"{:.1}\">{}</text>", y + NAME - 8.0, escaped(row));
        y += NAME;
        for (at, label, value) in cells(row) {
            bar(&mut svg, y, &axis, (at % COLOURS, label, value));
            y += BAR;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn bar(svg: &mut String, y: f64, axis: &Axis, (colour, label, value): (usize, &str, f64)) {
    let (base, end) = (y + BAR - 5.0, axis.x(value));
    let (start, bar, width) = (LEFT - 8.0, BAR - 4.0, end - LEFT);
    let label = escaped(label);
    let _ = writeln!(svg, "<text class=\"small\" x=\"{start}\" y=\"{base:.1}\" text-anchor=\"end\">{label}</text>");
    let _ = writeln!(
        svg,
        "<rect class=\"s{colour}\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{bar}\"/>",
        y + 1.0
    );
    let (x, value) = (end + 6.0, number(value));
    let _ = writeln!(svg, "<text class=\"small\" x=\"{x:.1}\" y=\"{base:.1}\">{value}</text>");
}

/// A tick: no more digits than it needs.
fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::report::Report;
    use super::*;

    fn comparison(values: &[(&str, f64)], unit: &'static str) -> Comparison {
        let mut lines = String::new();
        for (label, value) in values {
            let mut report = Report { title: "chat <&>".into(), label: (*label).into(), ..Report::default() };
            report.add("cost", *value, unit);
            lines += &(report.json() + "\n");
        }
        Comparison::parse(&lines)
    }

    /// Widths of the bars, by what an XML parser reads.
    fn widths(svg: &str) -> Vec<f64> {
        let mut found = Vec::new();
        for event in ::xml::reader::EventReader::new(svg.as_bytes()) {
            if let ::xml::reader::XmlEvent::StartElement { name, attributes, .. } = event.expect("well-formed")
                && name.local_name == "rect"
                && attributes.iter().any(|a| a.name.local_name == "class" && a.value.starts_with('s'))
            {
                let width = attributes.iter().find(|a| a.name.local_name == "width").expect("a width");
                found.push(width.value.parse().expect("a number"));
            }
        }
        found
    }

    #[test]
    fn bars_are_as_long_as_values_say() {
        let charts = charts(&comparison(&[("a", 1.0), ("b", 2.0)], "CPU-s"));
        let [(name, svg)] = &charts[..] else { panic!("{} charts", charts.len()) };
        assert_eq!(name, "cpu.svg");
        assert_eq!(widths(svg), [345.0, 690.0]);
        assert!(svg.contains("less is better") && !svg.contains("logarithmic"));
    }

    #[test]
    fn far_apart_is_logarithmic() {
        let charts = charts(&comparison(&[("a", 1.0), ("b", 10.0), ("c", 1000.0)], "/s"));
        assert!(charts[0].1.contains("logarithmic; more is better"));
        // From 0.1, so that the least has a bar.
        assert_eq!(widths(&charts[0].1), [172.5, 345.0, 690.0]);
    }

    #[test]
    fn nothing_to_draw() {
        assert!(charts(&comparison(&[("a", 1.0)], "")).is_empty());
        assert_eq!(widths(&charts(&comparison(&[("a", 0.0)], "ms"))[0].1), [0.0]);
    }
}
