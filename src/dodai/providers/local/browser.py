"""One visitor over HTTP: cookies kept, redirects shown, a fresh connection for each request."""

from __future__ import annotations

import functools
import ipaddress
import ssl
import time
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2

from dodai.operations.journey import Answer


class HttpBrowser:
    """A `Browser` for journeys and drills. `timeout_s` bounds each request as a whole.

    It sends what a browser sends with a form of the same origin (`Origin`, `Sec-Fetch-Site`), so that a journey meets
    the protection people meet; a drill that plays a hostile page overrides those headers. `origin` is what stands in
    the address bar of people where that is another address than `base_url`: a proxy leads from there to here, and a
    certificate has to be for that name. `address` is the one of this machine that it comes from, `authority` a file
    with the only certificates that it trusts.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float = 10.0,
        headers: Mapping[str, str] | None = None,
        origin: str = "",
        address: str = "",
        authority: str = "",
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._origin = origin or self._base_url
        limits = httpx2.Limits(max_keepalive_connections=0)
        self._client = httpx2.AsyncClient(
            timeout=timeout_s,
            transport=httpx2.AsyncHTTPTransport(
                verify=authorities(authority), limits=limits, local_address=address or None
            ),
            headers=dict(headers or {}),
            cookies=cookies(base_url),
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._client.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Answer:
        """The answer; raises `OSError` when none came."""
        began = time.perf_counter()
        response = await self.send(method, path, data=form, headers=headers, content=content)
        seconds = time.perf_counter() - began
        found = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, found, response.text, seconds)

    async def send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> httpx2.Response:
        """The answer as httpx knows it, with httpx's options; raises `OSError` when none came."""
        own = {"accept": "text/html,application/xhtml+xml,application/json;q=0.9"}
        if method not in ("GET", "HEAD"):
            own |= {"origin": self._origin, "sec-fetch-site": "same-origin"}
        if "://" not in path and self._origin != self._base_url:
            own["host"] = urlsplit(self._origin).netloc
        if path.startswith(f"{self._origin}/"):  # where a redirect leads back to
            path = path.removeprefix(self._origin)
            own["host"] = urlsplit(self._origin).netloc
        if self._base_url.startswith("https:") and self._origin != self._base_url:
            options["extensions"] = {"sni_hostname": urlsplit(self._origin).hostname}
        url = path if "://" in path else self._base_url + path
        try:
            return await self._client.request(method, url, headers={**own, **(headers or {})}, **options)
        except httpx2.TransportError as error:
            raise ConnectionError(f"{type(error).__name__}: {error}".rstrip(": ")) from error


@functools.cache
def authorities(file: str = "") -> ssl.SSLContext:
    """Whom this machine trusts, or who is in `file`; read once: reading costs 26 ms, more than a journey's requests."""
    return ssl.create_default_context(cafile=file) if file else httpx2.create_ssl_context(trust_env=False)


def cookies(url: str) -> CookieJar:
    """A jar that, as browsers do, counts loopback among the secure: `Secure` cookies are kept and sent there.

    W3C Secure Contexts section 3.1; Chrome since 89, Firefox since 75.
    """
    secure = ("https", "wss", "http", "ws") if is_loopback(urlsplit(url).hostname or "") else ("https", "wss")
    return CookieJar(DefaultCookiePolicy(secure_protocols=secure))


def is_loopback(host: str) -> bool:
    """Whether the name or address is one of this machine, to which nobody else can listen."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
