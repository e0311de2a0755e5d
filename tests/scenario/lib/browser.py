"""A headless Chromium, driven through its DevTools protocol over two pipes: nothing but the browser is needed."""

import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import threading

from .wait import seconds, until

BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One page.  `complaints`: what its console said of errors, and of what its policy forbade."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="browser-")  # short: sockets lie below
        self.complaints = []
        self.dialogs = []
        self._ids = itertools.count(1)
        self._answers = {}
        self._cond = threading.Condition()
        theirs, self._to = os.pipe()
        self._from, back = os.pipe()

        def pipes():  # the protocol is spoken on descriptors 3 and 4
            a, b = fcntl.fcntl(theirs, fcntl.F_DUPFD, 10), fcntl.fcntl(back, fcntl.F_DUPFD, 10)
            os.dup2(a, 3)
            os.dup2(b, 4)
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.process = subprocess.Popen(
                [BINARY, "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu",
                 "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions", "--disable-background-networking",
                 "--disable-component-update", "--disable-sync", "--no-proxy-server", "--hide-scrollbars",
                 "--user-data-dir=" + self.folder, "about:blank"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=pipes, close_fds=False,
                env={**os.environ, "TMPDIR": self.folder})
        os.close(theirs)
        os.close(back)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(domain + ".enable")

    # -- the protocol

    def _read(self):
        pending = b""
        while True:
            part = os.read(self._from, 1 << 20)
            if not part:
                return
            *lines, pending = (pending + part).split(b"\0")
            for line in lines:
                self._heard(json.loads(line))

    def _heard(self, message):
        with self._cond:
            if "id" in message:
                self._answers[message["id"]] = message
                self._cond.notify_all()
                return
        what, p = message["method"], message.get("params", {})
        if what == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(p["exceptionDetails"]))
        elif what == "Log.entryAdded" and p["entry"]["level"] in ("error", "warning"):
            self.complaints.append("%s: %s" % (p["entry"]["level"], p["entry"]["text"]))
        elif what == "Page.javascriptDialogOpening":
            self.dialogs.append(p["message"])
            self._send("Page.handleJavaScriptDialog", {"accept": True})

    def _send(self, method, params):
        message = {"id": next(self._ids), "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        return message["id"]

    def call(self, method, **params):
        number = self._send(method, params)
        with self._cond:
            if not self._cond.wait_for(lambda: number in self._answers, seconds(60)):
                raise AssertionError("the browser does not answer to %s" % method)
            answer = self._answers.pop(number)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    # -- the page

    def eval(self, script):
        """The value of an expression; promises are awaited."""
        reply = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in reply, reply["exceptionDetails"]
        return reply["result"].get("value")

    def wait(self, script, timeout=15):
        return until(lambda: "in the browser: %s; complaints: %s" % (script, self.complaints),
                     lambda: self.eval(script), timeout, 0.05)

    def open(self, url):
        self.complaints.clear()
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href.startsWith('http')")

    def look(self, width=1440, height=900, dark=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 700)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def press(self, key, text=None):
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **more)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def click(self, selector):
        self.eval("document.querySelector(%s).click()" % json.dumps(selector))

    def text(self, selector):
        return self.eval("document.querySelector(%s).innerText" % json.dumps(selector))

    def screenshot(self, path, whole=False):
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        with open(path, "wb") as f:
            f.write(base64.b64decode(shot["data"]))

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._to)
        self._reader.join(5)
        os.close(self._from)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()
