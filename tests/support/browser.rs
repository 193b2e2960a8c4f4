//! A real headless Chromium, controlled by its own protocol (CDP) over a pipe. There is no port and no other program,
//! and the browser ends with its pipe.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crossbeam_channel::{Receiver, unbounded};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::program::until;

/// A machine under load starts a browser slowly.
const PATIENCE: Duration = Duration::from_secs(120);
/// Chromium's own pipes have the numbers 3 and 4. The standard library cannot pass these on, but a shell can.
const ON_PIPES: &str = r#"exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>/dev/null"#;
const FLAGS: [&str; 14] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
];

fn program() -> &'static str {
    let found = |name: &&str| {
        Command::new(name).arg("--version").stderr(Stdio::null()).output().is_ok_and(|output| output.status.success())
    };
    let names = ["chromium", "google-chrome", "google-chrome-stable"];
    names
        .into_iter()
        .find(found)
        .unwrap_or_else(|| panic!("no Chromium here: install it with `sudo apt-get install -y chromium`, or run scripts/test"))
}

/// The maximum number of attempts for a click that may miss its element.
const CLICKS: usize = 20;

/// One browser with one page.
pub struct Browser {
    child: Child,
    to: RefCell<Option<ChildStdin>>,
    from: Receiver<Value>,
    session: String,
    asked: Cell<u64>,
    /// The events of the page, in order.
    events: RefCell<Vec<Value>>,
    /// The profile, which is new and empty, and is deleted with this value.
    home: TempDir,
}

impl Browser {
    /// Starts a browser with an empty page of 1440 × 900.
    pub fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let log = fs::File::create(home.path().join("log")).unwrap();
        let profile = format!("--user-data-dir={}", home.path().join("profile").display());
        let mut command = Command::new("sh");
        command.args(["-c", ON_PIPES, program()]).args(FLAGS).arg(profile).env("HOME", home.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let to = RefCell::new(child.stdin.take());
        let (sender, from) = unbounded();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        // The thread ends with the browser.
        let listen = move || {
            let mut text = Vec::new();
            while answers.read_until(0, &mut text).is_ok_and(|length| length > 0) {
                text.pop();
                if sender.send(serde_json::from_slice(&text).unwrap()).is_err() {
                    return;
                }
                text.clear();
            }
        };
        drop(thread::Builder::new().spawn(listen).unwrap());
        let mut browser = Self { child, to, from, session: String::new(), asked: Cell::new(0), events: RefCell::default(), home };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let session = browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }))["sessionId"].clone();
        session.as_str().unwrap().clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.size(1440, 900);
        browser
    }

    /// Calls a method of the browser and waits for the answer.
    pub fn call(&self, method: &str, parameters: Value) -> Value {
        self.ask(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Like [`Browser::call`], but returns the reason if the browser refuses.
    fn ask(&self, method: &str, parameters: Value) -> Result<Value, Value> {
        let id = self.asked.get() + 1;
        self.asked.set(id);
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.to.borrow_mut().as_mut().unwrap().write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let log = || fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
            let said = self
                .from
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|error| panic!("{method}: {error}; the browser's log:\n{}", log()));
            if said["id"] != id {
                self.events.borrow_mut().push(said);
            } else if said["error"].is_null() {
                return Ok(said["result"].clone());
            } else {
                return Err(said["error"].clone());
            }
        }
    }

    pub fn size(&self, width: u32, height: u32) {
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", screen);
    }

    /// Sets the user's preferences, as `prefers-color-scheme` and `prefers-reduced-motion` report them to a page.
    pub fn prefers(&self, scheme: &str, motion: &str) {
        let features =
            json!([{ "name": "prefers-color-scheme", "value": scheme }, { "name": "prefers-reduced-motion", "value": motion }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// Runs a script before each page's own scripts.
    pub fn before(&self, script: &str) {
        self.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }));
    }

    pub fn open(&self, url: &str) {
        let answer = self.call("Page.navigate", json!({ "url": url }));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
    }

    /// Returns the value of an expression in the page.
    pub fn value(&self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", parameters);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Returns the visible text of the element with this id.
    pub fn text(&self, id: &str) -> String {
        self.value(&format!("document.getElementById({id:?})?.innerText ?? ''")).as_str().unwrap().to_owned()
    }

    /// Waits until the expression is true in the page. Between one page and the next there is no page to ask.
    pub fn until(&self, expression: &str) {
        let parameters = json!({ "expression": expression, "returnByValue": true });
        let is_so = || self.ask("Runtime.evaluate", parameters.clone()).is_ok_and(|answer| answer["result"]["value"] == true);
        until(is_so, || format!("never true: {expression}\n{}", self.value("document.body.innerText")));
    }

    /// Waits until the element with this id shows the text.
    pub fn shows(&self, id: &str, text: &str) {
        self.until(&format!(
            "document.getElementById({id:?})?.checkVisibility() && document.getElementById({id:?}).innerText.includes({})",
            json!(text)
        ));
    }

    /// Presses one key: a character, or a name such as `Enter`.
    pub fn press(&self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            "Tab" => (9, ""),
            "ArrowUp" => (38, ""),
            "ArrowDown" => (40, ""),
            character => (0, character),
        };
        let kind = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
        for kind in [kind, "keyUp"] {
            let text = if kind == "keyUp" { "" } else { text };
            let event = json!({ "type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Reloads the page. What the old page shows is not taken for the new one's.
    pub fn reload(&self) {
        self.value("window.old = true");
        self.call("Page.reload", json!({}));
        self.until("window.old === undefined && document.readyState === 'complete'");
    }

    pub fn write(&self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Clicks in the middle of the first element that a selector finds, as a person would. If the element moves just
    /// then, the click misses it and has no effect, and is repeated.
    pub fn click(&self, selector: &str) {
        let place = format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{ block: 'center' }});
               window.landed = false;
               window.addEventListener('click', (event) => {{
                 window.landed = event.composedPath().includes(e);
                 if (!window.landed) {{ event.stopImmediatePropagation(); event.preventDefault(); }}
               }}, {{ capture: true, once: true }});
               const r = e.getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]; }})()"
        );
        for _ in 0..CLICKS {
            let place = self.value(&place);
            for kind in ["mousePressed", "mouseReleased"] {
                let event = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
                self.call("Input.dispatchMouseEvent", event);
            }
            if self.value("window.landed") == json!(true) {
                return;
            }
        }
        panic!("no click lands on {selector}: something covers it, or it never stands still");
    }

    /// Returns the parameters of all events of this name so far.
    pub fn events(&self, method: &str) -> Vec<Value> {
        self.events.borrow().iter().filter(|event| event["method"] == method).map(|event| event["params"].clone()).collect()
    }

    /// Saves the whole page as a picture.
    pub fn picture(&self, file: &Path) {
        let size = self.call("Page.getLayoutMetrics", json!({}))["cssContentSize"].clone();
        let whole = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let answer = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true, "clip": whole }));
        fs::write(file, STANDARD.decode(answer["data"].as_str().unwrap()).unwrap()).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Closing its pipe ends the browser with all its processes.
        drop(self.to.borrow_mut().take());
        while self.from.recv_timeout(PATIENCE).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
