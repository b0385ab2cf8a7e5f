"""The network of an environment, tried for real: certificates of an authority of our own, old TLS, ports, forged keys."""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import sys
import threading
import warnings
from datetime import date, timedelta

import pytest
from tests.support.authority import Authority

from dodai.core.manifest import Manifest, read
from dodai.core.rule import evaluate
from dodai.operations.check import RULES, ClosedPorts, DirectRequests, OriginsSeen
from dodai.operations.ports import DirectSeen
from dodai.operations.run import network_probe
from dodai.operations.run.network_probe import look_at_origin, look_at_port, look_directly, look_through
from dodai.runtime.manifest_location import reference

MANIFEST = b"""[project]
name = "quiz"
[env.production]
public_origins = ["https://localhost"]
[service.web]
command = ["web"]
public = true
"""


class Page(http.server.BaseHTTPRequestHandler):
    status, location, key = 200, "", ""

    def do_GET(self):
        refused = self.key and self.headers.get("x-edge-key") != self.key
        self.send_response(403 if refused else self.status)
        self.send_header("content-length", "0")
        if self.location:
            self.send_header("location", self.location)
        self.end_headers()

    def log_message(self, *words):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *words):
        pass


@contextlib.contextmanager
def serving(context=None, host="127.0.0.1", **page):
    """The port of a server until the block ends."""
    server = Server((host, 0), type("Page", (Page,), page))
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def tls(path, *, old=False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    if old:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@pytest.fixture
def authority(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return Authority(tmp_path)


def manifest() -> Manifest:
    return read(MANIFEST, reference())


def findings(fact):
    """Codes and messages of the rules over `fact`, and the reasons of what was not judged."""
    chosen = [rule for rule in RULES if type(fact) in rule.needs]
    report = evaluate(chosen, {Manifest: manifest(), type(fact): fact}, today=date(2026, 11, 29))
    found = {one.code.id: one.message.replace(str(fact), "") for one in report.findings}
    return found, {row.reason for row in report.unknown}


def origin(port):
    return look_at_origin(f"https://localhost:{port}")


def codes_of(*seen):
    return set(findings(OriginsSeen("production", seen))[0])


def test_certificate_that_browsers_trust_is_no_finding(authority):
    """TLS 1.2 or newer, for that name, for long enough."""
    with serving(tls(authority.certificate())) as port:
        seen = origin(port)
    assert (seen.problem, seen.old_tls, seen.plain, seen.version >= "TLSv1.2") == ("", "", "", True)
    assert 89 < seen.ends_in_s / 86_400 < 91
    assert codes_of(seen) == set()


@pytest.mark.parametrize(
    ("name", "days", "problem"),
    [
        ("localhost", -1, "its certificate has expired"),
        ("evil.example", 90, "its certificate is for another name"),
    ],
)
def test_certificate_that_browsers_refuse_is_a_finding_in_words(authority, name, days, problem):
    """It is seen as a browser sees it, not as an operator's tool that checks less."""
    with serving(tls(authority.certificate(name, timedelta(days=days)))) as port:
        seen = origin(port)
    assert (seen.problem, codes_of(seen)) == (problem, {"DOD510"})


def test_certificate_of_an_authority_nobody_trusts_is_a_finding(authority, monkeypatch):
    """A certificate that encrypts and proves nothing."""
    path = authority.certificate()
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with serving(tls(path)) as port:
        seen = origin(port)
    assert seen.problem.startswith("its certificate is refused: ")
    assert codes_of(seen) == {"DOD510"}


def test_certificate_that_ends_soon_is_told_with_its_days(authority):
    """Ten days are less than the three weeks that are asked for."""
    with serving(tls(authority.certificate(lasts=timedelta(days=10)))) as port:
        seen = origin(port)
    found, _ = findings(OriginsSeen("production", (seen,)))
    assert list(found) == ["DOD511"]
    assert found["DOD511"].endswith("ends in 10.0 days, 21 are asked for")


def test_old_tls_is_a_finding(authority):
    """TLS 1.1 is accepted beside newer ones."""
    with serving(tls(authority.certificate(), old=True)) as port:
        seen = origin(port)
    assert (seen.problem, seen.old_tls, codes_of(seen)) == ("", "TLSv1.1", {"DOD513"})


def test_server_without_tls_is_a_finding_and_one_that_is_not_there_is_not_judged(authority):
    """What could not be looked at is neither good nor bad."""
    with serving() as port:
        assert codes_of(origin(port)) == {"DOD510"}
    away = origin(port)
    found, unknown = findings(OriginsSeen("production", (away,)))
    assert (found, unknown) == ({}, {f"`https://localhost:{port}` cannot be reached: Connection refused"})


@pytest.mark.parametrize(
    ("status", "location", "codes"),
    [
        (308, "https://localhost/", set()),
        (200, "", {"DOD512"}),
        (302, "http://localhost/login", {"DOD512"}),
        (301, "https://evil.example/", {"DOD512"}),
    ],
)
def test_plain_http_has_to_lead_to_the_same_host_by_https(authority, status, location, codes):
    """Anything else is an answer that somebody on the way can read or change."""
    with serving(tls(authority.certificate())) as port, serving(status=status, location=location) as plain:
        assert codes_of(look_at_origin(f"https://localhost:{port}", plain_port=plain)) == codes


def test_request_around_the_edge_has_to_be_refused_also_with_a_forged_key():
    """403, or nobody there; any other answer means that the edge can be left out."""
    with serving(key="the-key") as port:
        refused = look_directly(f"127.0.0.1:{port}", through_edge=200)
    gone = look_directly(f"127.0.0.1:{port}", through_edge=200)
    with serving(status=302) as port:
        open_ = look_directly(f"http://127.0.0.1:{port}", through_edge=200)
    assert (refused.statuses, gone.refused_by, open_.statuses) == ((403, 403), "Connection refused", (302, 302))
    found, _ = findings(DirectRequests("production", (refused, gone)))
    assert found == {}
    found, _ = findings(DirectRequests("production", (open_,)))
    assert found == {"DOD514": f"`http://127.0.0.1:{port}` answers 302 with a forged one"}
    forged = DirectSeen("origin.example", (403, 200))
    assert forged.let_in == ("`origin.example` answers 200 with a forged one",)


def test_port_that_must_be_closed_is_tried_and_a_name_that_nobody_knows_is_not_judged():
    """Open is an error, closed is fine, unresolved is neither."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        taken = look_at_port(f"127.0.0.1:{port}", reached=False)
    closed, typed = look_at_port(f"127.0.0.1:{port}", reached=False), look_at_port("no-port", reached=True)
    assert (taken.taken, closed.taken, closed.refused_by) == (True, False, "Connection refused")
    other = look_at_port("127.0.0.1:99999", reached=True)
    found, unknown = findings(ClosedPorts("production", (taken, closed, typed, other)))
    assert found == {"DOD515": f"`127.0.0.1:{port}` takes a connection from here"}
    assert unknown == {"`no-port` is not `host:port`; `127.0.0.1:99999` is not `host:port`"}


@contextlib.contextmanager
def silent(monkeypatch):
    """A port that answers no connection, as one behind a firewall that drops packets: its queue is full."""
    monkeypatch.setattr(network_probe, "TIMEOUT_S", 0.3)
    with socket.socket() as listener, contextlib.ExitStack() as held:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(8):
            one = held.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(address)
        yield address[1]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue refuses")
def test_silence_is_no_refusal_where_nothing_of_the_environment_was_reached(monkeypatch):
    """A firewall and a network that is down look alike: only who reaches the edge at that moment knows which it is."""
    with silent(monkeypatch) as port:
        address = f"127.0.0.1:{port}"
        seen = [look_directly(address, through_edge=through) for through in (200, None)]
        tried = [look_at_port(address, reached=reached) for reached in (True, False)]
    assert [bool(one.refused_by) for one in (*seen, *tried)] == [True, False, True, False]
    for fact in (DirectRequests("production", tuple(seen)), ClosedPorts("production", tuple(tried))):
        found, unknown = findings(fact)
        assert (found, len(unknown)) == ({}, 1)
        assert "nor was anything else of the environment from here" in unknown.pop()


@pytest.mark.parametrize(
    ("through", "words"), [(403, "does so through the edge too"), (None, "could not be asked through the edge")]
)
def test_page_that_refuses_everybody_proves_no_gate(through, words):
    """A 403 counts where the same page lets people in through the edge."""
    with serving(status=403) as port:
        seen = look_directly(f"127.0.0.1:{port}", through_edge=through)
        front = look_through(f"http://127.0.0.1:{port}")
    found, unknown = findings(DirectRequests("production", (seen,)))
    assert (front, found, len(unknown)) == (403, {}, 1)
    assert words in unknown.pop()


def test_address_that_nobody_could_ask_is_not_judged(monkeypatch):
    """No such name, no TLS where TLS is asked for, a connection on which nothing comes: none of them is a refusal."""
    monkeypatch.setattr(network_probe, "TIMEOUT_S", 0.3)
    with serving() as plain, socket.create_server(("127.0.0.1", 0)) as mute:
        asked = ("https://127.0.0.256", f"https://127.0.0.1:{plain}", f"http://127.0.0.1:{mute.getsockname()[1]}")
        seen = tuple(look_directly(address, through_edge=200) for address in asked)
    found, unknown = findings(DirectRequests("production", seen))
    assert (found, [one.refused_by for one in seen]) == ({}, ["", "", ""])
    (said,) = unknown
    assert all(
        words in said for words in ("cannot be resolved", "speaks no TLS", "takes a connection and gives no answer")
    )


def test_origin_that_asks_for_a_certificate_refuses(authority):
    """As an edge and its origin that know each other by certificates do."""
    context = tls(authority.certificate())
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.folder / "ca.pem")
    with serving(context) as port:
        seen = look_directly(f"https://localhost:{port}", through_edge=200)
    assert (seen.statuses, bool(seen.refused_by), seen.unknown) == ((), True, "")


def test_old_tls_that_this_machine_cannot_speak_is_not_judged(authority, monkeypatch):
    """A build of OpenSSL without it proves nothing about the origin."""

    def without_ciphers(context, _):
        raise ssl.SSLError("No cipher can be selected.")

    with serving(tls(authority.certificate())) as port:
        monkeypatch.setattr(ssl.SSLContext, "set_ciphers", without_ciphers)
        seen = origin(port)
    found, unknown = findings(OriginsSeen("production", (seen,)))
    assert (seen.problem, found, len(unknown)) == ("", {}, 1)
    assert "TLS below 1.2 could not be tried: No cipher" in unknown.pop()
