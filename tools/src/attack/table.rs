//! Runs of several servers side by side, in Markdown.

use super::ATTACKS;
use crate::load::report::number;
use serde_json::Value;
use std::fmt::Write as _;

/// One line for each attack, in each cell a figure for each server, in the order in which they come first in `lines`. Lines that are no
/// run are passed over; where a run is there twice, the later counts.
#[must_use]
pub fn table(lines: &str) -> String {
    let runs: Vec<Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mut labels: Vec<&str> = Vec::new();
    for label in runs.iter().filter_map(|run| run.get("label")?.as_str()) {
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    let mut text = format!(
        "In each cell: {}. KiB: of one that stays, else (*) all that the server grew by. The last four are of honest clients: alone → under \
         attack (worst).\n\n\
         | attack | of one | CPU ms | KiB | done, refused | ping p99 ms | message and answer p99 ms | login p50 ms \
         | failed |\n|---|---|---|---|---|---|---|---|---|\n",
        labels.join(", ")
    );
    for (name, _, unit) in ATTACKS {
        let of = |label: &&str| {
            runs.iter().rev().find(|run| {
                run.get("attack").and_then(Value::as_str) == Some(name)
                    && run.get("label").and_then(Value::as_str) == Some(label)
            })
        };
        let found: Vec<Option<&Value>> = labels.iter().map(of).collect();
        if found.iter().all(Option::is_none) {
            continue;
        }
        let cell = |show: &dyn Fn(&Value) -> String| {
            let shown = found.iter().map(|run| run.map_or_else(|| "–".to_owned(), show));
            shown.collect::<Vec<_>>().join(", ")
        };
        let figure = |run: &Value, path: &str| run.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let felt = |run: &Value, what: &str, share: &str| {
            let [before, under] = ["before", "under"].map(|phase| figure(run, &format!("/{phase}/{what}/{share}")));
            let worst = figure(run, &format!("/under/{what}/max_ms"));
            format!("{} → {} ({})", number(before), number(under), number(worst))
        };
        let grown = |run: &Value| match figure(run, "/bytes_each") {
            each if each.is_nan() => format!("{}*", number(figure(run, "/bytes") / 1024.0)),
            each => number(each / 1024.0),
        };
        let failures = |run: &Value| run.get("honest_failures").and_then(Value::as_array).map_or(0, Vec::len);
        let _ = writeln!(
            text,
            "| {name} | {unit} | {} | {} | {} | {} | {} | {} | {} |",
            cell(&|run| number(figure(run, "/cpu_ms_each"))),
            cell(&grown),
            cell(&|run| format!("{} – {}", figure(run, "/done"), figure(run, "/refused"))),
            cell(&|run| felt(run, "pings", "p99_ms")),
            cell(&|run| felt(run, "messages", "p99_ms")),
            cell(&|run| felt(run, "logins", "p50_ms")),
            cell(&|run| failures(run).to_string()),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn servers_stand_side_by_side_and_the_later_run_counts() {
        let run = |attack: &str, label: &str, cpu: f64, each: &str| {
            let felt = r#"{"pings":{"p99_ms":1,"max_ms":2},"messages":{"p99_ms":2,"max_ms":3},"logins":{"p50_ms":4,"max_ms":6}}"#;
            format!(
                r#"{{"attack":"{attack}","label":"{label}","cpu_ms_each":{cpu},"bytes":4096,"bytes_each":{each},"done":7,"refused":1,"before":{felt},"under":{felt},"honest_failures":["one"]}}"#
            )
        };
        let lines = [
            run("slow", "a", 9.0, "2048"),
            run("slow", "b", 3.0, "2048"),
            "noise".to_owned(),
            run("slow", "a", 1.5, "1024"),
            run("connects", "b", 1.0, "null"),
        ];
        let shown = table(&lines.join("\n"));
        let rows: Vec<&str> = shown.lines().skip(4).collect();
        assert_eq!(
            rows,
            [
                "| slow | connection | 1.50, 3.00 | 1.00, 2.00 | 7 – 1, 7 – 1 | 1.00 → 1.00 (2.00), 1.00 → 1.00 (2.00) | \
                 2.00 → 2.00 (3.00), 2.00 → 2.00 (3.00) | 4.00 → 4.00 (6.00), 4.00 → 4.00 (6.00) | 1, 1 |",
                "| connects | 1,000 connections | –, 1.00 | –, 4.00* | –, 7 – 1 | –, 1.00 → 1.00 (2.00) | \
                 –, 2.00 → 2.00 (3.00) | –, 4.00 → 4.00 (6.00) | –, 1 |",
            ]
        );
        assert!(shown.starts_with("In each cell: a, b."), "{shown}");
    }
}
