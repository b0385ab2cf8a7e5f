"""What the network of an environment lets through: certificates, plain http, direct requests, ports, tried from here.

A probe is one connection with a deadline and changes nothing. What could not be reached says why, and is no verdict.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import warnings
from contextlib import closing
from urllib.parse import urlsplit

from dodai.operations.ports import DirectSeen, OriginSeen, PortSeen

TIMEOUT_S = 5.0
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
    old = _accepts_old_tls(host, port)
    plain = _plain_answer(host, plain_port) if parts.port in (None, 443) or plain_port != 80 else ""
    return OriginSeen(origin, version=version, problem=problem, ends_in_s=ends_in_s, old_tls=old, plain=plain)


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


def _accepts_old_tls(host: str, port: int) -> str:
    """The version below 1.2 that is accepted, whatever certificate comes with it; empty for none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # asking for it is the point
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    try:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with (
            socket.create_connection((host, port), TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            return secure.version() or ""
    except (OSError, ssl.SSLError):
        return ""


def _plain_answer(host: str, port: int) -> str:
    """What is wrong with the answer to plain http; empty for a redirect to https, or when nobody is there."""
    try:
        with closing(http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)) as connection:
            connection.request("GET", "/")
            answer = connection.getresponse()
            there = urlsplit(answer.getheader("location", ""))
    except (OSError, http.client.HTTPException):
        return ""
    if answer.status in (301, 302, 307, 308) and there.scheme == "https" and there.hostname == host:
        return ""
    return f"plain http answers {answer.status} instead of a redirect to https"


def look_directly(address: str) -> DirectSeen:
    """How `address` (a URL, or `host:port`) answers without the edge's key, and with one that is forged."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    statuses = []
    for headers in ({}, {"x-edge-key": "a-forged-key"}):
        try:
            with closing(_connection(host, port, secure=secure)) as connection:
                connection.request("GET", "/", headers=headers)
                statuses.append(connection.getresponse().status)
        except (OSError, http.client.HTTPException) as error:
            return DirectSeen(address, refused_by=_reason(error))
    return DirectSeen(address, tuple(statuses))


def _connection(host: str, port: int, *, secure: bool) -> http.client.HTTPConnection:
    if not secure:
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # who answers does not matter, only that it does
    return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)


def look_at_port(address: str) -> PortSeen:
    """Whether `host:port` takes a TCP connection; a name that cannot be resolved is not looked at."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S):
            return PortSeen(address, taken=True)
    except socket.gaierror as error:
        return PortSeen(address, unknown=f"`{host}` cannot be resolved: {error.strerror}")
    except ValueError:
        return PortSeen(address, unknown=f"`{address}` is not `host:port`")
    except OSError as error:
        return PortSeen(address, refused_by=_reason(error))


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
        return f"no answer within {TIMEOUT_S:g} s"
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
