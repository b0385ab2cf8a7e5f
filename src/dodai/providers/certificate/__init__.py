"""The certificate that a public origin shows, as a browser of today would take it."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

TIMEOUT_S = 5.0


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
