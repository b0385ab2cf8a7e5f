"""What the network of an environment lets through: certificates, plain http, direct requests, ports, tried from here.

A probe is one connection with a deadline and changes nothing. What could not be reached says why, and is no verdict.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import time
import warnings
from contextlib import closing
from urllib.parse import urlsplit

from dodai.operations.ports import REFUSED, DirectSeen, OriginSeen, PortSeen

TIMEOUT_S = 5.0
_NO_ANSWER = f"no answer within {TIMEOUT_S:g} s"
_BAD_CERTIFICATE = {
    9: "is not valid yet",
    10: "has expired",
    18: "is signed by itself",
    62: "is for another name",
}
"""OpenSSL's verification errors (x509_vfy.h) in words; what is missing says it in OpenSSL's own."""


def look_at_origin(origin: str, *, plain_port: int = 80) -> OriginSeen:
    """How an `https` origin of people answers: its certificate as a browser checks it, old TLS, plain http beside it.

    The authorities are those of this machine (`SSL_CERT_FILE` adds others). `plain_port` is asked where the origin has
    the usual port.
    """
    parts = urlsplit(origin)
    host, port = parts.hostname or "", parts.port or 443
    try:
        version, ends_in_s, problem = _handshake(host, port)
    except OSError as error:
        return OriginSeen(origin, unreachable=_reason(error))
    old, untried = _accepts_old_tls(host, port)
    plain, unasked = "", ""
    if parts.port in (None, 443) or plain_port != 80:
        plain, unasked = _plain_answer(host, plain_port)
    return OriginSeen(
        origin, version=version, problem=problem, ends_in_s=ends_in_s, old_tls=old, plain=plain,
        unknown="; ".join(why for why in (untried, unasked) if why),
    )  # fmt: skip


def _handshake(host: str, port: int) -> tuple[str, float | None, str]:
    """(TLS version, seconds until the certificate ends, what is wrong); raises `OSError` when nobody is there."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection((host, port), TIMEOUT_S) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=host) as secure:
                ends = (secure.getpeercert() or {}).get("notAfter")
                left_s = ssl.cert_time_to_seconds(str(ends)) - time.time() if ends else None
                return secure.version() or "", left_s, ""
        except ssl.SSLCertVerificationError as error:
            words = _BAD_CERTIFICATE.get(error.verify_code, f"is refused: {error.verify_message}")
            return "", None, f"its certificate {words}"
        except ssl.SSLError as error:
            return "", None, f"no TLS 1.2 or newer: {error.reason or error}"
        except ConnectionResetError:
            return "", None, "it ends the connection in the TLS handshake"


def _accepts_old_tls(host: str, port: int) -> tuple[str, str]:
    """(the version below 1.2 that is accepted, whatever certificate comes with it; why that could not be tried).

    Both are empty where the other side ended the handshake.
    """
    try:
        context = _old_tls_alone()
        with socket.create_connection((host, port), TIMEOUT_S) as plain:
            try:
                with context.wrap_socket(plain, server_hostname=host) as secure:
                    return secure.version() or "", ""
            except (ssl.SSLError, ConnectionError):
                return "", ""
    except (OSError, ValueError) as error:
        return "", f"TLS below 1.2 could not be tried: {_reason(error)}"


def _old_tls_alone() -> ssl.SSLContext:
    """Offers TLS 1.0 and 1.1 and nothing else; raises `ssl.SSLError` or `ValueError` where this machine cannot."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # asking for it is the point
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with contextlib.suppress(ssl.SSLWantReadError):  # the first message could be written: it waits for the answer
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO()).do_handshake()
    return context


def _plain_answer(host: str, port: int) -> tuple[str, str]:
    """(what is wrong with the answer to plain http, why there was none); both empty for a redirect or nobody there."""
    with closing(http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)) as connection:
        try:
            connection.connect()
        except OSError:
            return "", ""  # the same host was reached by TLS just now
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
        except TimeoutError:
            return "", f"plain http takes a connection and gives {_NO_ANSWER}"
        except (OSError, http.client.HTTPException):
            return "", ""  # it ended the connection
        there = urlsplit(answer.getheader("location", ""))
    if answer.status in (301, 302, 307, 308) and there.scheme == "https" and there.hostname == host:
        return "", ""
    return f"plain http answers {answer.status} instead of a redirect to https", ""


def look_through(origin: str) -> int | None:
    """The status of `/` as people get it; None when it does not answer from here.

    With it, silence and a 403 around the edge prove something: what is meant is there, and lets people in.
    """
    try:
        return _status(origin, {}) if origin else None
    except (OSError, http.client.HTTPException):
        return None


def look_directly(address: str, *, through_edge: int | None) -> DirectSeen:
    """How `address` (a URL, or `host:port`) answers without the edge's key, and with one that is forged.

    `through_edge` is what `look_through` saw of the same page just before.
    """
    statuses = []
    for headers in ({}, {"x-edge-key": "a-forged-key"}):
        try:
            statuses.append(_status(address, headers))
        except (OSError, http.client.HTTPException) as error:
            refused_by, unknown = _silence(address, error, reached=through_edge is not None)
            return DirectSeen(address, refused_by=refused_by, unknown=unknown)
    unknown = ""
    if REFUSED in statuses and through_edge in (None, REFUSED):
        how = "does so through the edge too" if through_edge else "could not be asked through the edge from here"
        unknown = f"`{address}` answers {REFUSED} and {how}: nobody can tell whom it refuses"
    return DirectSeen(address, tuple(statuses), unknown=unknown)


def _status(address: str, headers: dict[str, str]) -> int:
    """Of `/` there. Raises `_NoAnswerError` where a connection was taken and nothing said within the time."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    with closing(_connection(parts.hostname or "", port, secure=secure)) as connection:
        connection.connect()
        try:
            connection.request("GET", "/", headers=headers)
            return connection.getresponse().status
        except TimeoutError:
            raise _NoAnswerError from None


class _NoAnswerError(OSError):
    """A connection was taken, and nothing came."""


def _silence(address: str, error: Exception, *, reached: bool) -> tuple[str, str]:
    """(what refused a connection to `address`; why nobody can tell).

    A firewall that drops packets looks like a network that is down: silence proves something where the environment was
    `reached` from here at the same time.
    """
    if isinstance(error, socket.gaierror):
        return "", f"`{address}` cannot be resolved: {error.strerror}"
    if isinstance(error, _NoAnswerError):
        return "", f"`{address}` takes a connection and gives {_NO_ANSWER}"
    ended = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) or "ALERT" in _reason(error)
    if isinstance(error, ssl.SSLError) and not ended:
        return "", f"`{address}` speaks no TLS that is understood here: {_reason(error)}"
    said = isinstance(error, ConnectionError | ssl.SSLError | http.client.HTTPException)
    if said or reached:
        return _reason(error), ""
    return "", f"`{address}` was not reached ({_reason(error)}), nor was anything else of the environment from here"


def _connection(host: str, port: int, *, secure: bool) -> http.client.HTTPConnection:
    if not secure:
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # who answers does not matter, only that it does
    return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)


def look_at_port(address: str, *, reached: bool) -> PortSeen:
    """Whether `host:port` takes a TCP connection; a name that cannot be resolved is not looked at.

    `reached`: something of the same environment answered from here just before, so that no answer means a closed port.
    """
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65_536:  # the system takes a larger one for another port
        return PortSeen(address, unknown=f"`{address}` is not `host:port`")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S):
            return PortSeen(address, taken=True)
    except UnicodeError:
        return PortSeen(address, unknown=f"`{host}` is not the name of a host")
    except OSError as error:
        refused_by, unknown = _silence(address, error, reached=reached)
        return PortSeen(address, refused_by=refused_by, unknown=unknown)


def own_outer_address() -> str:
    """The address of this machine that others on its network reach it by; empty when it has none but loopback."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as found:
        try:
            found.connect(("192.0.2.1", 9))  # TEST-NET-1: nothing is sent, only a route is chosen
            address = str(found.getsockname()[0])
        except OSError:
            return ""
    return "" if address.startswith("127.") else address


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return _NO_ANSWER
    said = getattr(error, "reason", "") or getattr(error, "strerror", "")  # OpenSSL's own words, or the system's
    return str(said or "") or "".join(map(str, error.args[:1])) or type(error).__name__


def days_left(origin: str, now_s: float, context: ssl.SSLContext | None = None) -> float | None:
    """Days until the certificate of `origin` expires, 0 when it is refused already; None for an origin without TLS.

    Raises `OSError` when the origin does not answer, which says nothing about its certificate.
    """
    parts = urlsplit(origin)
    if parts.scheme != "https" or not parts.hostname:
        return None
    trusting = context or ssl.create_default_context()
    with socket.create_connection((parts.hostname, parts.port or 443), timeout=TIMEOUT_S) as plain:
        try:
            with trusting.wrap_socket(plain, server_hostname=parts.hostname) as secured:
                shown = secured.getpeercert() or {}
        except ssl.SSLCertVerificationError:
            return 0.0
    return (ssl.cert_time_to_seconds(str(shown["notAfter"])) - now_s) / 86400.0
