//! Help from the table of commands, at every level with an example.

use hearth_core::commands::{Command, GROUPS, Group, Kind, Need, Parameter};
use std::fmt::Write as _;

/// What holds for every command, and what `hearthctl` exits with.
const GLOBAL: &[(&str, &str)] = &[
    ("--data DIR", "data folder of the core (default: ./hearth-data); its control.sock is used"),
    ("--socket PATH", "the control socket itself, wherever it is"),
    ("--json", "one line of JSON instead of text, for errors too"),
    ("--help", "what is behind a word: hearthctl user --help"),
];
const EXITS: &[(&str, &str)] = &[
    ("0", "done"),
    ("1", "something failed here: a broken connection, an unreadable terminal"),
    ("2", "this command line makes no sense"),
    ("3", "no core answers on the control socket"),
    ("4", "it exists already"),
    ("5", "no such account, session or domain"),
    ("6", "the server refused a value: an address, a password"),
    ("7", "the server cannot do it now; try again"),
];
const EXAMPLES: &[&str] = &["user add ada@localhost", "--json user add grace --generate", "sessions list"];

/// `hearthctl --help`.
pub(super) fn all() -> String {
    let mut text = String::from(
        "Usage: hearthctl [--data DIR | --socket PATH] [--json] COMMAND …\n\nAsk a running Hearth, or tell it what to do.\n",
    );
    let groups: Vec<_> = GROUPS.iter().map(|group| (words(group), group.help)).collect();
    section(&mut text, "Commands", &groups);
    section(&mut text, "Options, anywhere on the line", GLOBAL);
    text.push_str("\nAccounts without @DOMAIN are of the server's only domain.\n");
    examples(&mut text, EXAMPLES);
    section(&mut text, "Exit codes", EXITS);
    text
}

/// `hearthctl user --help`.
pub(super) fn group(group: &Group) -> String {
    let mut text = format!("Usage: hearthctl {} COMMAND …\n\n{}\n", group.name, group.help);
    let commands: Vec<_> = group.commands.iter().map(|command| (usage(command), command.help)).collect();
    section(&mut text, "Commands", &commands);
    let first: Vec<&str> = group.commands.iter().filter_map(|command| command.examples.first().copied()).collect();
    examples(&mut text, &first);
    text
}

/// `hearthctl user add --help`.
pub(super) fn command(command: &Command) -> String {
    let mut text = format!("Usage: hearthctl {}\n\n{}\n", usage(command), command.help);
    if !command.details.is_empty() {
        let _ = write!(text, "\n{}\n", command.details);
    }
    let places: Vec<_> = placed(command).map(|parameter| (place(parameter), told(parameter))).collect();
    section(&mut text, "Parameters", &places);
    section(&mut text, "Options", &options(command));
    examples(&mut text, command.examples);
    text
}

/// `user add ACCOUNT [--generate]`.
fn usage(command: &Command) -> String {
    let mut text = command.name.to_owned();
    for parameter in placed(command) {
        let place = place(parameter);
        let _ = if parameter.need == Need::Required { write!(text, " {place}") } else { write!(text, " [{place}]") };
    }
    for (option, _) in options(command) {
        let _ = write!(text, " [{option}]");
    }
    text
}

/// A group with the words behind it: `user add|password|…`.
fn words(group: &Group) -> String {
    let word = |command: &Command| command.name.strip_prefix(group.name).unwrap_or_default().trim_start().to_owned();
    let words: Vec<String> = group.commands.iter().map(word).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { group.name.to_owned() } else { format!("{} {}", group.name, words.join("|")) }
}

fn placed(command: &Command) -> impl Iterator<Item = &Parameter> {
    let placed = |p: &&Parameter| matches!(p.need, Need::Required | Need::Optional) && p.kind != Kind::Secret;
    command.parameters.iter().filter(placed)
}

/// A parameter as help names it.
pub(super) fn place(parameter: &Parameter) -> String {
    parameter.name.to_uppercase().replace('_', "-")
}

/// The name of an option, without the dashes.
pub(super) fn option(parameter: &Parameter) -> String {
    parameter.name.replace('_', "-")
}

fn told(parameter: &Parameter) -> String {
    match parameter.kind {
        Kind::Choice(words) => format!("{}: {}", parameter.help, words.join(", ")),
        _ => parameter.help.to_owned(),
    }
}

/// Every option of a command, as written and what it means.
pub(super) fn options(command: &Command) -> Vec<(String, String)> {
    let mut options = Vec::new();
    for parameter in command.parameters {
        let name = option(parameter);
        match (parameter.kind, parameter.need) {
            (Kind::Secret, _) => {
                let read =
                    format!("read {} from standard input, up to the end or the first line break", parameter.help);
                options.push((format!("--{name}-stdin"), read));
                options.push(("--generate".to_owned(), "make a random password and print it".to_owned()));
            }
            (_, Need::Required | Need::Optional) => {}
            (Kind::Switch, _) => options.push((format!("--{name}"), told(parameter))),
            (_, Need::Many) => {
                options.push((format!("--{name} VALUE"), format!("{}; may be repeated", told(parameter))));
            }
            (_, Need::Option) => options.push((format!("--{name} VALUE"), told(parameter))),
        }
    }
    if command.confirm.is_some() {
        options.push(("--yes".to_owned(), "do not ask".to_owned()));
    }
    options
}

fn section(text: &mut String, title: &str, rows: &[(impl AsRef<str>, impl AsRef<str>)]) {
    if rows.is_empty() {
        return;
    }
    let width = rows.iter().map(|(left, _)| left.as_ref().len()).filter(|width| *width <= 36).max().unwrap_or(0);
    let _ = write!(text, "\n{title}:\n");
    for (left, right) in rows {
        let (left, right) = (left.as_ref(), right.as_ref());
        let _ = if left.len() > width {
            writeln!(text, "  {left}\n  {:width$}  {right}", "")
        } else {
            writeln!(text, "  {left:width$}  {right}")
        };
    }
}

fn examples(text: &mut String, examples: &[&str]) {
    let _ = write!(text, "\nExample{}:\n", if examples.len() == 1 { "" } else { "s" });
    for example in examples {
        let _ = writeln!(text, "  hearthctl {example}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_core::commands;

    /// Nothing is said twice, so it is enough that nothing is left out and no line is too long.
    #[test]
    fn help_says_all_there_is() {
        let top = all();
        for known in GROUPS {
            assert!(top.contains(known.help) && group(known).contains(known.commands[0].help), "{}", known.name);
        }
        for described in commands::all() {
            let help = command(described);
            for parameter in described.parameters {
                assert!(help.contains(parameter.help), "{}: {}", described.name, parameter.name);
            }
            assert!(help.lines().all(|line| line.chars().count() <= 130), "{help}");
        }
        assert!(top.contains("no core answers"));
    }
}
