"""A service that is fine and answers the question whether it is ready wrongly, as MODE says. Standard library."""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODE = os.environ["MODE"]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        status, headers = 200, {}
        if MODE == "missing" and self.path != "/":
            status = 404
        elif MODE == "sign-in":
            status, headers = 302, {"location": "/login?next=/readyz"}
        elif MODE == "slash" and not self.path.endswith("/"):
            status, headers = 308, {"location": f"{self.path}/"}
        elif MODE == "https" and self.headers.get("x-forwarded-proto") != "https":
            status, headers = 301, {"location": f"https://{self.headers['host']}{self.path}"}
        elif MODE == "hosts" and self.headers["host"] != "shop.example.com":
            status = 400
        elif MODE == "late":
            Handler.asked = getattr(Handler, "asked", 0) + 1
            status = 404 if Handler.asked < 4 else 200
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
