//! `hearthctl completion`: what a shell needs to complete its words; `hearthctl` does it itself.

use super::{Command, Group, Kind, Parameter, Shape};

pub(super) const GROUP: Group =
    Group { name: "completion", help: "Completion of hearthctl's words in a shell.", commands: &[COMPLETION] };

const COMPLETION: Command = Command {
    name: "completion",
    help: "Print what a shell needs to complete hearthctl's words.",
    details: "For bash: hearthctl completion bash > ~/.local/share/bash-completion/completions/hearthctl",
    parameters: &[Parameter::required("shell", Kind::Choice(&["bash", "zsh", "fish"]), "which shell")],
    examples: &["completion bash"],
    result: Shape::Did("shell"),
    ..Command::BASE
};
