"""A small HTTP service for the tests of the host: ready, slow, streaming, counting, breaking off. Standard library."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def exists(name):
    return Path(name).exists()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/readyz":
            ready = not exists("not-ready")
            said = {
                "ready": ready,
                "version": os.environ["DODAI_RELEASE"],
                "dependencies": {"db": "ok" if ready else "down"},
            }
            self.answer(json.dumps(said).encode(), 200 if ready else 503)
        elif path == "/slow":
            time.sleep(float(self.path.partition("=")[2] or 1))
            self.answer(os.environ["DODAI_RELEASE"].encode())
        elif path == "/stream":
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for number in range(3):
                part = f"part {number}\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.flush()
                gate = f"gate-{number}"
                while exists("gated") and not exists(gate):
                    time.sleep(0.01)
            self.wfile.write(b"0\r\n\r\n")
        elif path == "/broken":
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif path == "/mute":
            time.sleep(60)
        else:
            said = {"headers": self.headers.items(), "path": self.path, "release": os.environ["DODAI_RELEASE"]}
            self.answer(
                json.dumps(said).encode(), headers=[("cache-control", "public, max-age=60")] if "public" in path else []
            )

    def do_POST(self):
        size = 0
        if self.headers.get("transfer-encoding") == "chunked":
            while length := int(self.rfile.readline(), 16):
                size += len(self.rfile.read(length))
                self.rfile.readline()
            self.rfile.readline()
        else:
            size = len(self.rfile.read(int(self.headers.get("content-length") or 0)))
        with Path("posts").open("a") as file:
            file.write(f"{self.path}\n")
        if self.path == "/slow-post":
            time.sleep(0.3)
        self.answer(json.dumps({"size": size, "release": os.environ["DODAI_RELEASE"]}).encode())

    def answer(self, body, status=200, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        print("served", self.path, flush=True)


class Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def handle_error(self, *_):
        print("broke off", type(sys.exc_info()[1]).__name__, flush=True)


def main():
    if exists("exit-at-boot"):
        print("cannot start: no such setting", flush=True)
        raise SystemExit(3)
    if exists("no-listen"):
        time.sleep(600)
    server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
    if exists("exit-on-term"):
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    elif not exists("ignore-term"):
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    else:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("serving", os.environ["DODAI_RELEASE"], flush=True)
    server.serve_forever(poll_interval=0.02)
    server.server_close()
    print("drained", flush=True)


main()
