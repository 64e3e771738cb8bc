"""A browser's own WebSocket against our server, plain and encrypted: headless Chromium opens a page that reports what it saw."""

import http.server
import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

from driver import tools
from places import WORK, Program, serve

HERE = Path(__file__).resolve().parent
NAMES = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"]


def find():
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        tools.install(["chromium-headless-shell"])
        found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise tools.Missing("needs Chromium (Debian: apt-get install chromium-headless-shell)")
    return found


def certificate():
    if shutil.which("openssl") is None:
        raise tools.Missing("needs openssl")
    files = WORK / "certificate.pem", WORK / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(files[1]), "-out", str(files[0])],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return files


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = (HERE / "peers" / "page.html").read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.server.result = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.server.told.set()

    def log_message(self, *_):
        pass


def suite(outcome):
    chromium = find()
    chain, key = certificate()
    server, plain = serve("--deflate", "on", "--subprotocols", "b", "--certificate", chain, "--key", key)
    secure = [line.split()[1] for line in server.lines if line.startswith("listening ")]
    for _ in range(120):
        if len(secure) >= 2:
            break
        with server.changed:
            server.changed.wait(1)
        secure = [line.split()[1] for line in server.lines if line.startswith("listening ")]
    pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    pages.told, pages.result = threading.Event(), None
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    for name, uri in (("ws", f"ws://{plain}/"), ("wss", f"wss://{secure[1]}/")):
        pages.told.clear()
        profile = WORK / "profile"
        shutil.rmtree(profile, ignore_errors=True)
        page = f"http://127.0.0.1:{pages.server_port}/?{uri}"
        program = Program(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--ignore-certificate-errors",
                          f"--user-data-dir={profile}", "--remote-debugging-port=0", page)
        if not pages.told.wait(180):
            raise RuntimeError(f"the page said nothing: {program.lines[-3:]}")
        program.end()
        for case, result in pages.result.items():
            outcome.add("Chromium", f"{name} {case}", "OK" if result == "ok" else "FAILED", "" if result == "ok" else result)
    pages.shutdown()


SUITES = {"Chromium": suite}
