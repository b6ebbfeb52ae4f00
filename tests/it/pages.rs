//! The pages in a real browser: from the overview to the output of a straggling task, with names made of
//! markup everywhere; what an administrator changes there; what others do not see. Without a Chromium on the
//! machine this is said and left out.

use crate::browser::Browser;
use crate::{machine, request, setup, stop, until, wordcount};
use firesteel_common::event::{AppEvent, LoggedEvent};
use firesteel_common::http::{AppProgress, SubmitRequest};
use firesteel_tests::cluster::Cluster;
use firesteel_tests::fault::Token;
use serde_json::json;

const MARKUP: &str = "\"><svg onload=document.title='broken'><script>document.title='broken'</script>";
/// How long a task has been running before anybody looks at it, on the master's clock.
const LATE_MICROS: u64 = 2_000_000;

fn browser() -> Option<Browser> {
    let browser = Browser::start();
    if browser.is_none() {
        eprintln!("no chromium on this machine: the pages are not looked at");
    }
    browser
}

/// Opens the pages as the holder of the cluster's token, or of another one.
fn log_in(browser: &mut Browser, cluster: &Cluster, token: Option<&str>) {
    let mut command = cluster.firesteel(&["ui"]).unwrap();
    if let Some(token) = token {
        command.env("FIRESTEEL_TOKEN", token);
    }
    let link = command.output().unwrap();
    assert!(link.status.success(), "{}", String::from_utf8_lossy(&link.stderr));
    browser.open(&String::from_utf8(link.stdout).unwrap());
}

/// Goes to a page by the links at the top.
fn page(browser: &mut Browser, name: &str) {
    browser.click("nav a", name);
    browser.until(&format!("document.querySelector('h1')?.textContent === '{name}'"));
}

#[test]
fn from_the_overview_to_the_output_of_a_straggler() {
    let _machine = machine();
    let Some(mut browser) = browser() else { return };
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(&setup().set("faults.dir", dir.path().display())).unwrap();
    let straggler = Token::plant(dir.path(), "executor.task_start", 1, None, "hang").unwrap();
    let text = dir.path().join("text.txt");
    std::fs::write(&text, "one two\n".repeat(10_000)).unwrap();
    let plugin = cluster.upload(&wordcount()).unwrap().hash;
    let hostile = SubmitRequest {
        name: MARKUP.to_owned(),
        tags: [(MARKUP.to_owned(), MARKUP.to_owned())].into(),
        ..request(plugin, "wordcount", &[("input", text.to_str().unwrap())])
    };
    let app = cluster.submit(&hostile).unwrap().app;
    let failed = request(plugin, "wordcount", &[("input", &format!("/{MARKUP}"))]);
    let failed = cluster.submit(&failed).unwrap().app;
    let started = until(|| {
        let log = cluster.get(&format!("/applications/{app}/events")).ok().filter(|_| straggler.fired())?;
        let mut log = log.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
        log.find_map(|line: LoggedEvent| match line.event {
            AppEvent::TaskStarted { .. } => Some(line.at.0),
            _ => None,
        })
    });
    let progress = format!("/applications/{app}/progress");
    until(|| {
        let progress: AppProgress = cluster.get_json(&progress).ok()?;
        (progress.at.0 > started + LATE_MICROS).then_some(())
    });

    log_in(&mut browser, &cluster, None);
    browser.click("td a", &app.to_string());
    browser.click("td a", "stage-0");
    let row = "[...document.querySelectorAll('tr')].find(row => /^0.*running/.test(row.textContent))";
    browser.until(&format!("Boolean({row})"));
    let time = browser.evaluate(&format!("parseFloat(/running([0-9.]+) s/.exec({row}.textContent)[1])"));
    assert!(time.as_f64().unwrap() >= LATE_MICROS as f64 / 1e6, "it runs for longer than {time} s");
    browser.click("td a", "worker-");
    browser.until("document.getElementById('source').value.startsWith('executor on worker-')");
    assert_eq!(browser.evaluate("document.querySelectorAll('main svg').length"), json!(1), "the graph alone");
    browser.until(&format!("document.body.innerText.includes({})", json!(MARKUP)));
    browser.click("summary", "How it was submitted");
    browser.until(&format!("document.querySelector('details[open]').innerText.includes({})", json!(text)));

    // What is drawn anew every second keeps where the reader is.
    browser.evaluate("(window.kept = document.querySelector('td a')).focus()");
    browser.evaluate("window.shown = document.querySelector('dl').textContent");
    browser.until("document.querySelector('dl').textContent !== shown");
    browser.until("document.activeElement === kept && Boolean(document.querySelector('details[open]'))");

    browser.click("button", "Kill");
    browser.click("dialog button", "Kill");
    browser.until("/killed/.test(document.querySelector('main .tools').textContent)");

    page(&mut browser, "Applications");
    browser.write("#by-state", "failed");
    let rows = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[0].textContent).join()";
    browser.until(&format!("{rows} === '{failed}'"));
    browser.write("#by-state", "");
    browser.write("#by-name", MARKUP);
    browser.until(&format!("{rows} === '{app}'"));
    browser.write("#by-tag", "team=none");
    browser.until("/No application is like that/.test(document.body.innerText)");
    assert_ne!(browser.evaluate("document.title"), json!("broken"));
    assert_eq!(browser.evaluate("document.querySelectorAll('main script').length"), json!(0));
    assert!(browser.trouble.is_empty(), "{:#?}", browser.trouble);
    drop(browser);
    stop(cluster);
}

#[test]
fn an_administrator_makes_tokens_and_drains_workers_and_a_viewer_does_not() {
    let _machine = machine();
    let Some(mut browser) = browser() else { return };
    let cluster = Cluster::start(&setup()).unwrap();
    log_in(&mut browser, &cluster, None);
    page(&mut browser, "Tokens");
    browser.write("#token-name", "ann");
    browser.write("select[name=role]", "viewer");
    browser.click("button", "Make a token");
    browser.until("document.getElementById('token')?.textContent.startsWith('fst_')");
    let ann = browser.evaluate("document.getElementById('token').textContent");
    browser.click("button", "I have it");
    browser.until("!document.getElementById('token')");
    browser.until("document.querySelector('tbody').innerText.includes('ann')");

    page(&mut browser, "Workers");
    let states = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[1].textContent).join()";
    browser.until(&format!("{states} === 'alive,alive'"));
    browser.click("button", "Drain");
    browser.click("dialog button", "Cancel");
    browser.until("!document.querySelector('dialog')");
    assert_eq!(browser.evaluate(states), json!("alive,alive"));
    browser.click("button", "Drain");
    browser.click("dialog button", "Drain");
    // It has nothing to hand over, so it may be gone at once.
    browser.until(&format!("/draining|lost|^alive$/.test({states})"));

    log_in(&mut browser, &cluster, ann.as_str());
    browser.until("document.getElementById('who').textContent === 'ann (viewer)'");
    assert_eq!(browser.evaluate("document.querySelector('nav a.admin').hidden"), json!(true));
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        json!({"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": true}),
    );
    for name in ["Workers", "Plugins", "Applications"] {
        page(&mut browser, name);
        let wide = browser.evaluate("document.documentElement.scrollWidth");
        assert_eq!(wide, json!(360), "{name} is wider than a phone");
        let buttons = "[...document.querySelectorAll('button')].some(b => /Drain|Kill/.test(b.textContent))";
        assert_eq!(browser.evaluate(buttons), json!(false), "{name}");
    }
    assert!(browser.trouble.is_empty(), "{:#?}", browser.trouble);

    let revoked = cluster.firesteel(&["tokens", "revoke", "ann"]).unwrap().status().unwrap();
    assert!(revoked.success());
    browser.until("document.querySelector('h1').textContent === 'Not logged in'");
    drop(browser);
    stop(cluster);
}
