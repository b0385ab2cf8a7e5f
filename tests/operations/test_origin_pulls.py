"""Authenticated origin pulls with a real server before the service: caddy, which asks whoever connects for a certificate."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
import urllib.request
from contextlib import contextmanager

import pytest
from tests.operations.test_network import Authority, findings, serving
from tests.optional_parts import find

from dodai.operations.check import DirectRequests
from dodai.operations.run.network_probe import look_directly

CADDYFILE = """{{
	admin off
	auto_https off
	storage file_system {folder}/storage
}}
https://localhost:{port} {{
	bind 127.0.0.1
	tls {pair} {pair} {{
		{clients}
	}}
	reverse_proxy 127.0.0.1:{service}
}}
"""
ASKS = "client_auth {{\n\t\t\tmode require_and_verify\n\t\t\ttrusted_ca_cert_file {ca}\n\t\t}}"


@contextmanager
def caddy(folder, authority, service, *, asks):
    """The port of caddy before `service`, which lets nobody in without a certificate of `authority` where it `asks`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    clients = ASKS.format(ca=folder / "ca.pem") if asks else ""
    pair = authority.certificate()
    text = CADDYFILE.format(folder=folder, port=port, pair=pair, clients=clients, service=service)
    (folder / "Caddyfile").write_text(text)
    command = [find("caddy"), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    environment = {"HOME": str(folder), "PATH": ""}
    with (folder / "caddy.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "caddy.log").read_text()
                assert time.monotonic() < end, (folder / "caddy.log").read_text()
                time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()


def as_edge(folder, port, client=None):
    """The status that a request of Cloudflare's gets, with its client certificate."""
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if client:
        context.load_cert_chain(client)
    with urllib.request.urlopen(f"https://localhost:{port}/", context=context, timeout=10) as answer:
        return answer.status


@pytest.mark.optional_part("caddy")
def test_origin_behind_mutual_tls_lets_the_edge_in_and_nobody_around_it(tmp_path):
    """With the certificate the request arrives; without one, or with a stranger's, there is no connection."""
    authority, strangers = Authority(tmp_path), tmp_path / "strangers"
    strangers.mkdir()
    with serving() as service:
        with caddy(tmp_path, authority, service, asks=True) as port:
            assert as_edge(tmp_path, port, authority.certificate("edge")) == 200
            with pytest.raises(OSError, match=r"(?i)unknown.ca|certificate|alert"):
                as_edge(tmp_path, port, Authority(strangers).certificate("edge"))
            around = look_directly(f"https://localhost:{port}")
        with caddy(tmp_path, authority, service, asks=False) as port:
            open_ = look_directly(f"https://localhost:{port}")
    assert (around.statuses, bool(around.refused_by)) == ((), True)
    found, unknown = findings(DirectRequests("production", (around,)))
    assert (found, unknown) == ({}, set())
    found, _ = findings(DirectRequests("production", (open_,)))
    assert set(found) == {"DOD514"}
