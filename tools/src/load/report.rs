//! Figures of a run: a table for people, one JSON line for programs.

use super::histogram::Histogram;
use super::probe::Processes;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// One measured number.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// Left out where runs stand side by side: a part of another figure, or about the load program.
    pub(crate) detail: bool,
}

/// All that a run found out.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was run, with the options that matter.
    pub(crate) title: String,
    /// Whose figures these are, in a comparison.
    pub(crate) label: String,
    pub(crate) figures: Vec<Figure>,
    /// What the reader must know about the figures.
    pub(crate) notes: Vec<String>,
}

impl Report {
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure { name: name.into(), value, unit, detail: false });
    }

    pub(crate) fn add_detail(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure { name: name.into(), value, unit, detail: true });
    }

    /// A cost for each process, and their sum if there are several.
    pub(crate) fn add_costs(&mut self, name: &str, processes: &Processes, costs: &[f64], unit: &'static str) {
        if let [_, _, ..] = costs {
            for (process, cost) in processes.0.iter().zip(costs) {
                self.add_detail(format!("{name}, {}", process.name), *cost, unit);
            }
        }
        if !costs.is_empty() {
            self.add(name, costs.iter().sum(), unit);
        }
    }

    pub(crate) fn add_latency(&mut self, name: &str, latency: &Histogram) {
        for (suffix, share) in [("p50", 0.5), ("p99", 0.99)] {
            self.add(format!("{name} {suffix}"), latency.quantile_ms(share), "ms");
        }
        self.add_detail(format!("{name} max"), latency.max_ms(), "ms");
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let width = self.figures.iter().map(|figure| figure.name.len()).max().unwrap_or(0);
        let mut text = format!("{}\n", self.title);
        for figure in &self.figures {
            let _ = writeln!(text, "  {:width$}  {:>12} {}", figure.name, number(figure.value), figure.unit);
        }
        for note in &self.notes {
            let _ = writeln!(text, "  note: {note}");
        }
        text
    }

    /// For programs: one line.
    #[must_use]
    pub fn json(&self) -> String {
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|f| json!({"name": f.name, "value": f.value, "unit": f.unit, "detail": f.detail}))
            .collect();
        json!({"title": self.title, "label": self.label, "figures": figures, "notes": self.notes}).to_string()
    }
}

/// Three or four significant digits.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_by_process_and_in_sum() {
        let mut report = Report::default();
        report.add_costs("cpu", &"edge=1,core=2".parse().unwrap(), &[1.0, 0.5], "s");
        report.add_costs("mem", &"3".parse().unwrap(), &[7.0], "B");
        let found: Vec<_> = report.figures.iter().map(|figure| (figure.name.as_str(), figure.value)).collect();
        assert_eq!(found, [("cpu, edge", 1.0), ("cpu, core", 0.5), ("cpu", 1.5), ("mem", 7.0)]);
    }
}
