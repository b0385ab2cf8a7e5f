"""The network policy of an environment behind a real edge with TLS: what `check --target` proves, and what it finds."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from datetime import timedelta

import pytest
from tests.end_to_end.hosted_app import HostedApp
from tests.quiz.stack import free_ports
from tests.support.authority import Authority
from tests.support.wait import until

SITE = """https://localhost:{port} {{
    tls {certificate} {certificate} {{
        {clients}
    }}
    reverse_proxy 127.0.0.1:{edge}
}}
"""
ONLY_KNOWN_CLIENTS = """client_auth {{
            mode require_and_verify
            trusted_ca_cert_file {authority}
        }}"""
OF_THE_NETWORK = ("DOD510", "DOD511", "DOD512", "DOD513", "DOD514", "DOD515")


@contextlib.contextmanager
def caddy(folder, *sites):
    """Serves the sites until the block ends."""
    config = folder / "Caddyfile"
    config.write_text("{\n    admin off\n    auto_https off\n}\n" + "".join(SITE.format(**site) for site in sites))
    with (folder / "caddy.log").open("ab") as log:
        process = subprocess.Popen(
            ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"],
            env={**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        for site in sites:
            until(lambda port=site["port"]: listens(port), lambda: (folder / "caddy.log").read_text()[-2000:], process)
        yield
    finally:
        process.terminate()
        process.wait(30)


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class World:
    """An environment that people reach at one port of caddy; at another one it lets in known clients alone."""

    def __init__(self, folder):
        self.folder, self.app = folder, HostedApp(folder / "app")
        (folder / "app").mkdir()
        self.authority = Authority(folder)
        self.public, self.direct, self.closed = free_ports(3)
        lines = (
            f'public_origins = ["https://localhost:{self.public}"]',
            f'direct_origins = ["https://localhost:{self.direct}"]',
            f'closed_ports = ["127.0.0.1:{self.closed}"]',
        )
        self.app.write(environment="\n".join(lines))
        done = self.app.run("deploy", "staging", "--yes")
        assert done.returncode == 0, done.stderr

    def found(self, certificate, *, open_to_all=False):
        """The findings about the network, while caddy shows that certificate."""
        authority = self.folder / "ca.pem"
        clients = "" if open_to_all else ONLY_KNOWN_CLIENTS.format(authority=authority)
        edge = self.app.known()["ports"]["edge"]
        good = self.authority.certificate()
        with caddy(
            self.folder,
            {"port": self.public, "certificate": certificate, "clients": "", "edge": edge},
            {"port": self.direct, "certificate": good, "clients": clients, "edge": edge},
        ):
            done = self.app.run(
                *("check", "operations", "--target", "staging", "--output-format", "json"), SSL_CERT_FILE=str(authority)
            )
        report = json.loads(done.stdout)
        return {one["code"]: one["message"] for one in report["findings"] if one["code"] in OF_THE_NETWORK}


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.app.clear()


@pytest.mark.optional_part("caddy")
def test_policy_is_proven_and_every_breach_of_it_is_found(world):
    """Trusted TLS for people, nobody around the edge, closed ports closed; then each of them otherwise, one at a time."""
    made = world.authority.certificate
    assert world.found(made()) == {}
    assert "has expired" in world.found(made(lasts=timedelta(days=-1)))["DOD510"]
    assert "is for another name" in world.found(made("evil.example"))["DOD510"]
    assert "ends in 10.0 days" in world.found(made(lasts=timedelta(days=10)))["DOD511"]
    with socket.create_server(("127.0.0.1", world.closed)):
        found = world.found(made(), open_to_all=True)
    assert set(found) == {"DOD514", "DOD515"}
    assert f"`https://localhost:{world.direct}` answers 200" in found["DOD514"]
    assert f"`127.0.0.1:{world.closed}` takes a connection" in found["DOD515"]
