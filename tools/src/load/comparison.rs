//! Runs side by side, from their JSON lines: a table in Markdown, and what `plot.rs` draws.

use super::report::number;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Figures of several runs: rows and columns in the order of first appearance, without details.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Comparison {
    pub(super) labels: Vec<String>,
    /// Name and unit.
    pub(super) rows: Vec<(String, String)>,
    /// By row and label.
    cells: BTreeMap<(String, String), f64>,
}

impl Comparison {
    /// Lines that are no report are passed over; where a run is there twice, the later counts.
    #[must_use]
    pub fn parse(lines: &str) -> Comparison {
        let mut found = Comparison::default();
        for report in lines.lines().filter_map(|line| serde_json::from_str::<Map<String, Value>>(line).ok()) {
            found.add(&report);
        }
        found
    }

    fn add(&mut self, report: &Map<String, Value>) {
        let text = |map: &Map<String, Value>, key: &str| map.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        let (title, label) = (text(report, "title"), text(report, "label"));
        if !self.labels.contains(&label) {
            self.labels.push(label.clone());
        }
        let figures = report.get("figures").and_then(Value::as_array);
        for figure in figures.into_iter().flatten().filter_map(Value::as_object) {
            if figure.get("detail").and_then(Value::as_bool) == Some(true) {
                continue;
            }
            let row = (format!("{title}: {}", text(figure, "name")), text(figure, "unit"));
            if let Some(value) = figure.get("value").and_then(Value::as_f64) {
                self.cells.insert((row.0.clone(), label.clone()), value);
            }
            if !self.rows.contains(&row) {
                self.rows.push(row);
            }
        }
    }

    pub(super) fn cell(&self, row: &str, label: &str) -> Option<f64> {
        self.cells.get(&(row.to_owned(), label.to_owned())).copied()
    }

    /// One column for each label.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text =
            format!("| | unit | {} |\n|---|---|{}\n", self.labels.join(" | "), "---|".repeat(self.labels.len()));
        for (name, unit) in &self.rows {
            let _ = write!(text, "| {name} | {unit} |");
            for label in &self.labels {
                let cell = self.cell(name, label).map_or("–".to_owned(), number);
                let _ = write!(text, " {cell} |");
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Report;
    use super::*;

    fn report(label: &str, figures: &[(&str, f64)]) -> Report {
        let mut report = Report { title: "chat".into(), label: label.into(), ..Report::default() };
        for (name, value) in figures {
            report.add(*name, *value, "ms");
        }
        report
    }

    #[test]
    fn runs_side_by_side() {
        let mut lines = [report("a", &[("p50", 0.1234), ("p99", 250.4)]), report("b", &[("p99", 12.34)])];
        lines[1].add_detail("max", 99.0, "ms");
        let lines = lines.map(|report| report.json()).join("\nnoise\n");
        let wanted = "| | unit | a | b |\n|---|---|---|---|\n\
                      | chat: p50 | ms | 0.123 | – |\n| chat: p99 | ms | 250 | 12.3 |\n";
        assert_eq!(Comparison::parse(&lines).table(), wanted);
    }
}
