//! `firesteel completions SHELL`: a script that teaches a shell the commands and their flags.

use crate::failure::{Exit, Outcome};
use crate::print;
use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::aot::{Shell, generate};

/// Prints a script for a shell, which then completes commands and flags
///
/// bash: firesteel completions bash > ~/.local/share/bash-completion/completions/firesteel
/// zsh:  firesteel completions zsh > a directory of $fpath, as _firesteel
/// fish: firesteel completions fish > ~/.config/fish/completions/firesteel.fish
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Name,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Name {
    Bash,
    Zsh,
    Fish,
}

impl CompletionsArgs {
    /// Prints it.
    pub fn run(self) -> Outcome<Exit> {
        let mut script = Vec::new();
        generate(Shell::from(self.shell), &mut super::Cli::command(), "firesteel", &mut script);
        print::data(&script)?;
        Ok(Exit::Done)
    }
}

impl From<Name> for Shell {
    fn from(name: Name) -> Self {
        match name {
            Name::Bash => Shell::Bash,
            Name::Zsh => Shell::Zsh,
            Name::Fish => Shell::Fish,
        }
    }
}
