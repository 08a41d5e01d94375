//! Completion in a shell: `hearthctl --complete LINE` prints what the last word of the line may become,
//! from the table of commands; domains and accounts from the core, if one answers.

use super::line::{Found, find};
use super::{Exit, Failure, help};
use hearth_core::commands::{self, Command, Kind, Need};

/// Functions for shells, each asking this program. Colons and at-signs end words in bash, so that the
/// part before the last of them is cut from the answers.
const SCRIPTS: &[(&str, &str)] = &[
    (
        "bash",
        "_hearthctl() {\n    local line=${COMP_LINE:0:COMP_POINT} cur=${COMP_WORDS[COMP_CWORD]} IFS=$'\\n'\n    local last=${line##* }\n    local cut=${last%\"$cur\"}\n    COMPREPLY=($(compgen -W \"$(hearthctl --complete \"$line\" 2>/dev/null)\" -- \"$last\"))\n    COMPREPLY=(\"${COMPREPLY[@]#\"$cut\"}\")\n}\ncomplete -F _hearthctl hearthctl\n",
    ),
    (
        "zsh",
        "#compdef hearthctl\n_hearthctl() {\n    local -a words_there\n    words_there=(${(f)\"$(hearthctl --complete \"$LBUFFER\" 2>/dev/null)\"})\n    compadd -a words_there\n}\ncompdef _hearthctl hearthctl\n",
    ),
    ("fish", "complete -c hearthctl -f -a '(hearthctl --complete (commandline -cp))'\n"),
];

/// `hearthctl completion SHELL`.
pub(super) fn script(shell: &str) -> Result<&'static str, Failure> {
    let known = SCRIPTS.iter().find(|(name, _)| *name == shell);
    known.map(|(_, script)| *script).ok_or_else(|| {
        let names: Vec<&str> = SCRIPTS.iter().map(|(name, _)| *name).collect();
        Failure::new(Exit::Usage, format!("no completion for {shell}"), format!("there is {}", names.join(", ")))
    })
}

/// What the last word of `line` may become; `names` has the domains and accounts there are.
pub(super) fn candidates(line: &str, names: &dyn Fn(Kind) -> Vec<String>) -> Vec<String> {
    let mut words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let current = if line.ends_with(char::is_whitespace) { "" } else { words.pop().unwrap_or_default() };
    let words = without_global(&words);
    let all = match find(&words) {
        Found::Command(command, taken) => of_command(command, words.get(taken..).unwrap_or_default(), current, names),
        Found::Group(_) | Found::Nothing => next_words(&words),
    };
    let mut fit: Vec<String> = all.into_iter().filter(|word| word.starts_with(current)).collect();
    fit.sort();
    fit.dedup();
    fit
}

fn without_global<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let mut kept = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--json" => {}
            "--data" | "--socket" => {
                words.next();
            }
            other => kept.push(other),
        }
    }
    kept
}

/// The words that follow these in names of commands.
fn next_words(words: &[&str]) -> Vec<String> {
    let next = |command: &'static Command| {
        let name: Vec<&str> = command.name.split(' ').collect();
        name.strip_prefix(words).and_then(|rest| rest.first().map(|word| (*word).to_owned()))
    };
    commands::all().filter_map(next).collect()
}

fn of_command(command: &Command, given: &[&str], current: &str, names: &dyn Fn(Kind) -> Vec<String>) -> Vec<String> {
    let options = help::options(command);
    // Written as `--name VALUE`.
    let takes_value = |word: &str| options.iter().any(|(option, _)| option.strip_prefix(word) == Some(" VALUE"));
    let of_option = |word: &str| {
        command.parameters.iter().find(|p| word.strip_prefix("--") == Some(help::option(p).as_str())).map(|p| p.kind)
    };
    if let Some(option) = given.last().filter(|word| takes_value(word)) {
        return of_option(option).map(|kind| of_kind(kind, names)).unwrap_or_default();
    }
    if current.starts_with('-') {
        let name = |(option, _): &(String, String)| option.split(' ').next().unwrap_or_default().to_owned();
        return options.iter().map(name).chain(["--help".to_owned()]).collect();
    }
    let mut places: usize = 0;
    let mut words = given.iter();
    while let Some(word) = words.next() {
        if takes_value(word) {
            words.next();
        } else if !word.starts_with("--") {
            places = places.saturating_add(1);
        }
    }
    let placed = command
        .parameters
        .iter()
        .filter(|p| matches!(p.need, Need::Required | Need::Optional) && p.kind != Kind::Secret)
        .nth(places);
    placed.map(|parameter| of_kind(parameter.kind, names)).unwrap_or_default()
}

fn of_kind(kind: Kind, names: &dyn Fn(Kind) -> Vec<String>) -> Vec<String> {
    match kind {
        Kind::Choice(words) => words.iter().map(|word| (*word).to_owned()).collect(),
        Kind::Account | Kind::Jid | Kind::Domain => names(kind),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(line: &str) -> Vec<String> {
        candidates(line, &|kind| {
            let names: &[&str] = if kind == Kind::Domain { &["a.example", "b.example"] } else { &["ada@a.example"] };
            names.iter().map(|name| (*name).to_owned()).collect()
        })
    }

    #[test]
    fn words_are_completed_from_the_table() {
        for (line, wanted) in [
            ("hearthctl us", &["user"][..]),
            ("hearthctl user p", &["password"]),
            ("hearthctl --data x --json user p", &["password"]),
            ("hearthctl log set d", &["debug"]),
            ("hearthctl user show ", &["ada@a.example"]),
            ("hearthctl domain set b", &["b.example"]),
            ("hearthctl domain set b.example registration o", &["off", "on"]),
            ("hearthctl user delete ada --y", &["--yes"]),
            ("hearthctl roster add ada --name Ada ad", &["ada@a.example"]),
            ("hearthctl roster add ada --name ad", &[]),
            ("hearthctl frob ", &[]),
        ] {
            assert_eq!(complete(line), wanted, "{line}");
        }
        assert!(complete("hearthctl ").len() > 5 && complete("hearthctl user ").contains(&"add".to_owned()));
        assert!(SCRIPTS.iter().all(|(shell, text)| script(shell).is_ok() && text.contains("--complete")));
    }
}
