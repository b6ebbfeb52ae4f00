//! What Ctrl-C means while an application runs: on a terminal it is asked for, otherwise it kills.

use super::screen::Screen;
use crate::signals::Stop;
use crossbeam::channel::{Receiver, bounded};
use crossbeam::select;
use firesteel_common::id::AppId;
use std::io::IsTerminal;

/// What to do with the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Leave it running, and end the command.
    Detach,
    /// End it.
    Kill,
    /// Go on watching.
    Continue,
}

/// Asks on a terminal after Ctrl-C; a second one, SIGTERM, and no terminal, kill. `can_detach` says whether
/// the application can go on without this command.
pub fn ask(
    screen: &Screen,
    app: AppId,
    can_detach: bool,
    why: Option<Stop>,
    stop: &Receiver<Stop>,
) -> Answer {
    let is_question = why == Some(Stop::Interrupt);
    if !is_question || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Answer::Kill;
    }
    let choice = if can_detach { "(d)etach, (k)ill or (c)ontinue" } else { "(k)ill or (c)ontinue" };
    screen.pause(&format!("\n{app} runs: {choice}? Ctrl-C kills it. "));
    let answer = wait_for_answer(can_detach, stop);
    screen.resume();
    answer
}

fn wait_for_answer(can_detach: bool, stop: &Receiver<Stop>) -> Answer {
    let (sender, lines) = bounded(1);
    // It ends with the process if nobody types anything.
    let started = std::thread::Builder::new().name("question".into()).spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        let _ = sender.send(read.map(|_| line).unwrap_or_default());
    });
    if started.is_err() {
        return Answer::Kill;
    }
    select! {
        recv(stop) -> _ => Answer::Kill,
        recv(lines) -> line => meaning(&line.unwrap_or_default(), can_detach),
    }
}

/// What a line means; one that means nothing lets the application go on.
fn meaning(line: &str, can_detach: bool) -> Answer {
    match line.trim().to_ascii_lowercase().as_str() {
        "d" | "detach" if can_detach => Answer::Detach,
        "k" | "kill" => Answer::Kill,
        _ => Answer::Continue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_means_what_it_says() {
        for (line, can_detach, expected) in [
            ("d\n", true, Answer::Detach),
            ("d\n", false, Answer::Continue),
            (" KILL ", true, Answer::Kill),
            ("c", true, Answer::Continue),
            ("", true, Answer::Continue),
        ] {
            assert_eq!(meaning(line, can_detach), expected, "{line}");
        }
    }
}
