//! Sending a submission while Ctrl-C is listened for: what was sent already is killed, what was not is not
//! sent any more.

use super::request::{self, Plugin};
use crate::client::Client;
use crate::failure::{Failure, Outcome};
use crate::print;
use crate::signals::Stop;
use crossbeam::channel::{Receiver, after, bounded};
use crossbeam::select;
use firesteel_common::http::{SubmitRequest, SubmitResponse};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const NO_ANSWER: &str = "stopped without an answer: `firesteel apps` shows what was submitted";
/// How long the answer to a request that is on its way is waited for after Ctrl-C.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends it; `None` if it was stopped, and then no application of it runs.
///
/// # Errors
/// Those of the master, and of killing what was just submitted.
pub fn unless_stopped(
    client: &Client,
    request: &SubmitRequest,
    plugin: Option<&Arc<Plugin>>,
    stop: &Receiver<Stop>,
) -> Outcome<Option<SubmitResponse>> {
    if stop.try_recv().is_ok() {
        print::talk("stopped before anything was submitted");
        return Ok(None);
    }
    let (sender, answer) = bounded(1);
    let is_cancelled = Arc::new(AtomicBool::new(false));
    let (client_of_thread, request, plugin) = (client.clone(), request.clone(), plugin.cloned());
    let cancelled_of_thread = Arc::clone(&is_cancelled);
    std::thread::Builder::new()
        .name("submission".into())
        .spawn(move || {
            let plugin = plugin.as_deref();
            // Nobody waits any more if the command was stopped.
            let _ = sender.send(request::send(&client_of_thread, &request, plugin, &cancelled_of_thread));
        })
        .map_err(|cause| Failure::io("starting a thread", &cause))?;
    let lost = || Failure::usage("the submission was not answered");
    select! {
        recv(answer) -> answer => return answer.map_err(|_| lost())?.map(Some),
        recv(stop) -> _ => is_cancelled.store(true, Ordering::Relaxed),
    }
    select! {
        recv(answer) -> answer => match answer {
            Ok(Ok(response)) => {
                print::talk(format!("stopped: killing {}", response.app));
                super::kill(client, response.app)?;
            }
            _ => print::talk("stopped before anything was submitted"),
        },
        recv(stop) -> _ => print::talk(NO_ANSWER),
        recv(after(PATIENCE)) -> _ => {
            print::talk(NO_ANSWER);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn request() -> SubmitRequest {
        serde_json::from_value(serde_json::json!({})).unwrap()
    }

    #[test]
    fn after_ctrl_c_nothing_is_sent_any_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let client = Client::over(&listener.local_addr().unwrap().to_string(), "t", None).unwrap();
        let (sender, stop) = bounded(2);
        sender.send(Stop::Interrupt).unwrap();
        assert!(unless_stopped(&client, &request(), None, &stop).unwrap().is_none());
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_master_that_does_not_answer_does_not_hold_the_command() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::over(&listener.local_addr().unwrap().to_string(), "t", None).unwrap();
        let (sender, stop) = bounded(2);
        let silent = std::thread::spawn(move || {
            let connection = listener.accept().unwrap();
            sender.send(Stop::Interrupt).unwrap();
            sender.send(Stop::Interrupt).unwrap();
            connection
        });
        assert!(unless_stopped(&client, &request(), None, &stop).unwrap().is_none());
        silent.join().unwrap();
    }
}
