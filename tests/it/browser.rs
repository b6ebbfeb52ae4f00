//! A browser for tests: headless Chromium, driven over its debugging protocol. What a page shows and does is
//! asked by script; nothing here knows what the pages are.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// A page of a browser, and the browser's end.
pub struct Browser {
    process: Child,
    socket: TcpStream,
    next: u64,
    session: Value,
    /// What went wrong on the page: exceptions, refused loads, console errors, dialogs.
    pub trouble: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Browser {
    /// Starts one; `None` if there is none on this machine.
    pub fn start() -> Option<Self> {
        let profile = tempfile::tempdir().unwrap();
        let mut process = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--remote-debugging-port=0", "about:blank"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let url = lines.find_map(|line| Some(line.split_once("ws://")?.1.trim().to_owned())).unwrap();
        // Whatever else it says is read, so that it never waits.
        std::thread::spawn(move || lines.for_each(drop));
        let (address, path) = url.split_once('/').unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let hello = format!(
            "GET /{path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        socket.write_all(hello.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        let (session, trouble) = (Value::Null, Vec::new());
        let mut browser = Self { process, socket, next: 0, session, trouble, _profile: profile };
        let targets = browser.call("Target.getTargets", json!({}));
        let targets = targets["targetInfos"].as_array().unwrap();
        let page = targets.iter().find(|target| target["type"] == "page").unwrap()["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({"targetId": page, "flatten": true}));
        browser.session = attached["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Calls a method of the protocol and waits for its answer.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": params});
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        send(&mut self.socket, &message.to_string());
        loop {
            let heard: Value = serde_json::from_str(&receive(&mut self.socket)).unwrap();
            if heard["id"] == self.next {
                assert!(heard["error"].is_null(), "{method}: {heard}");
                return heard["result"].clone();
            }
            let is_trouble = match heard["method"].as_str().unwrap_or_default() {
                "Runtime.exceptionThrown" | "Page.javascriptDialogOpening" => true,
                "Log.entryAdded" => heard["params"]["entry"]["level"] == "error",
                "Runtime.consoleAPICalled" => heard["params"]["type"] == "error",
                _ => false,
            };
            if is_trouble {
                self.trouble.push(heard.to_string());
            }
        }
    }

    /// What a script gives.
    pub fn evaluate(&mut self, script: &str) -> Value {
        let params = json!({"expression": script, "returnByValue": true, "awaitPromise": true});
        self.call("Runtime.evaluate", params)["result"]["value"].clone()
    }

    /// Opens an address.
    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url.trim()}));
    }

    /// Writes into a field as somebody who types does.
    pub fn write(&mut self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        self.until(&format!("Boolean(document.querySelector({selector}))"));
        let typed = "field.dispatchEvent(new Event(kind, { bubbles: true }))";
        self.evaluate(&format!(
            "{{ const field = document.querySelector({selector}); field.focus(); field.value = {text};
                for (const kind of ['input', 'change']) {typed}; }}"
        ));
    }

    /// Waits until a script gives true.
    pub fn until(&mut self, script: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.evaluate(script) != Value::Bool(true) {
            let text = self.evaluate("document.body.innerText");
            assert!(Instant::now() < deadline, "never: {script}\n{text}\n{:?}", self.trouble);
        }
    }

    /// Waits for an element whose text begins so, and clicks on it.
    pub fn click(&mut self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        let found =
            format!("[...document.querySelectorAll({selector})].find(n => n.textContent.startsWith({text}))");
        self.until(&format!("Boolean({found})"));
        self.evaluate(&format!("{found}.click()"));
    }
}

/// Sends a text as one frame (RFC 6455, section 5.2), masked with zeros.
fn send(socket: &mut TcpStream, text: &str) {
    let mut frame = vec![0x81];
    match text.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    socket.write_all(&frame).unwrap();
}

/// The text of the next message, which may come in several frames.
fn receive(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    loop {
        let mut head = [0; 2];
        socket.read_exact(&mut head).unwrap();
        let length = match head[1] & 0x7f {
            126 => {
                let mut bytes = [0; 2];
                socket.read_exact(&mut bytes).unwrap();
                usize::from(u16::from_be_bytes(bytes))
            }
            127 => {
                let mut bytes = [0; 8];
                socket.read_exact(&mut bytes).unwrap();
                usize::try_from(u64::from_be_bytes(bytes)).unwrap()
            }
            short => usize::from(short),
        };
        let at = text.len();
        text.resize(at + length, 0);
        socket.read_exact(&mut text[at..]).unwrap();
        if head[0] & 0x80 != 0 {
            return String::from_utf8(text).unwrap();
        }
    }
}
