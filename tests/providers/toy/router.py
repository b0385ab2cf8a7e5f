"""The router of the toy cloud: it reads the live release from the state file at every request."""

from __future__ import annotations

import http.server
import itertools
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

STATE, SERVICE = Path(sys.argv[1]), sys.argv[2]
TURNS = itertools.count()


class Router(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        state = json.loads(STATE.read_text())
        live = state["live"].get(SERVICE)
        machines = [
            one
            for one in state["machines"]
            if f"{one['release']}@{one['settings']}" == live and one["service"] == SERVICE
        ]
        if not machines:
            self.send_error(503)
            return
        chosen = machines[next(TURNS) % len(machines)]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{chosen['port']}{self.path}", timeout=5) as answer:
                code, body = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            code, body = error.code, error.read()
        self.send_response(code)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Router)
print(server.server_port, flush=True)
server.serve_forever()
