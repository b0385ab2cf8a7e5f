"""Everything about one app's protection that does not depend on ASGI or WSGI."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from os import urandom
from typing import Any
from urllib.parse import urlsplit

from dodai.core.codes import BODY_TOO_LARGE
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.refusal import Refusal
from dodai.core.request import RequestContext, current
from dodai.csrf.body import SearchState
from dodai.csrf.codes import FOREIGN_ORIGIN, ORIGIN_MALFORMED, ORIGIN_NEEDED, REQUEST_UNREADABLE
from dodai.csrf.decision import (
    FETCH_SITES,
    OVERRIDES,
    SAFE_METHODS,
    Decision,
    Origins,
    Provenance,
    TokenState,
    carries_credentials,
    configure_origins,
    decide,
    decide_exempt,
    is_bearer,
    is_trusted,
    judge_provenance,
    needs_token,
    parse_origin,
    told_as_over,
)
from dodai.csrf.enforce.csrf_session import CsrfSession, check_subject, cookie_pattern
from dodai.csrf.enforce.entrance import AWAITED, AWAITED_AS_WRITE, CHECKED, Grant
from dodai.csrf.enforce.visitor_page import VISITOR_WORDS
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.token import KeyRing, Verdict, is_contemporary, verify
from dodai.frameworks import MatchedRoute

Headers = Sequence[tuple[bytes, bytes]]
Sent = Mapping[bytes, Sequence[bytes]]
Subject = Callable[[Mapping[str, Any]], object]
"""Names the session or user of a request from its ASGI scope or WSGI environ: stable for the session, None for none."""

TOO_LARGE = Decision(False, "body_too_large", BODY_TOO_LARGE, 413)
LENGTH_INVALID = Decision(False, "content_length_invalid", REQUEST_UNREADABLE, 400)
SUBJECT_UNREADABLE = Decision(False, "subject_unreadable", REQUEST_UNREADABLE, 400)


GRACE = "where the browser says same-origin, that of another first visit within five minutes of it is taken as well"
"""What `token` allows besides, for two tabs that are opened at once: in the words of `dodai routes` and `check`."""
PROBE_BYTES = 64 * 1024


class BodyTooLargeError(Exception):
    """Raised into an application that reads on after the limit of its route; answered with 413."""

    refusal = Refusal(413, BODY_TOO_LARGE, "body_too_large")


@dataclass(frozen=True, slots=True)
class CsrfProtection:
    """The protection of one app: `CsrfProtection.of(...)`. Immutable; shared by all requests."""

    policy: CsrfPolicy
    ring: KeyRing
    origins: Origins
    cookie: bytes
    pattern: re.Pattern[bytes]
    secure: bool
    subject: Subject | None = None
    session: re.Pattern[bytes] | None = None
    find: Callable[[Mapping[str, Any]], MatchedRoute | None] | None = None
    watched: bool = False
    """Whether every handler has an entrance: without one exemptions do not hold, for nobody keeps them to it."""
    settle: Callable[[], object] = field(default=lambda: None)
    """Called at the first request: gives every handler its entrance again; what was replaced since `wrap` has none."""
    clock: Callable[[], float] = time.time
    random: Callable[[int], bytes] = urandom
    header: bytes = b"x-csrf-token"
    proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = field(default=())

    @classmethod
    def of(
        cls,
        policy: CsrfPolicy,
        ring: KeyRing,
        origins: Iterable[str],
        *,
        subject: Subject | None = None,
        find: Callable[[Mapping[str, Any]], MatchedRoute | None] | None = None,
        watched: bool = False,
        settle: Callable[[], object] = lambda: None,
        secure: bool | None = None,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = urandom,
    ) -> CsrfProtection:
        """The gate for an environment with these public origins.

        `secure` says whether the cookie is, by default unless all origins are http on this machine. Raises DOD181 for
        an origin that is none, and DOD184 when the mode rests on them and there is none; `TypeError` for a `subject`
        that is awaited, which nobody does, or that cannot be called with one argument.
        """
        if subject is not None:
            check_subject(subject)
        configured = configure_origins(origins, policy.trusted_origins)
        if policy.mode in ("header", "either") and not configured.public:
            said = f'`[csrf] mode = "{policy.mode}"` without a public origin'
            raise DodaiError(ORIGIN_NEEDED, said, ORIGIN_NEEDED.fix.en, exit_code=2)
        if secure is None:
            secure = not is_plain_loopback(configured.public)
        cookie = b"__Host-dodai-csrf" if secure else b"dodai-csrf"
        return cls(
            policy=policy,
            ring=ring,
            origins=configured,
            cookie=cookie,
            pattern=cookie_pattern(cookie),
            secure=secure,
            subject=subject,
            session=cookie_pattern(policy.session_cookie.encode("latin-1")) if policy.session_cookie else None,
            find=find,
            watched=watched,
            settle=settle,
            clock=clock,
            random=random,
            header=policy.header.lower().encode("latin-1"),
            proxies=tuple(map(_network, policy.trusted_proxies)),
        )

    @property
    def binding(self) -> str:
        """What a token is bound to, for `dodai routes`."""
        if self.policy.mode == "framework":
            return "what the framework's own check binds its tokens to"
        if self.subject is not None:
            bound = "the visitor's cookie and what `subject=` names"
        elif self.session is not None:
            bound = f"the visitor's cookie and the session cookie `{self.policy.session_cookie}`"
        else:
            bound = "the visitor's cookie, not to who is signed in"
        return f"{bound} ({GRACE})"

    @property
    def refreshes(self) -> bool:
        """Whether open pages get fresh tokens from us: not where the framework has its own."""
        return self.policy.mode != "framework"

    def visitor(self, headers: Headers, scope: Mapping[str, Any]) -> CsrfSession:
        """Who sent a request, as far as tokens are concerned; nothing is read until it is asked for."""
        return CsrfSession(self, headers, scope)

    def route(self, scope: Mapping[str, Any], sent: Iterable[bytes] = ()) -> MatchedRoute | None:
        """The route of an unsafe request, asked of the framework's router only if an exemption or limit needs it.

        None for a request whose headers (`sent`) ask for another method: something inside may route it elsewhere.
        """
        if self.find is None or not (self.policy.exemptions or self.policy.limits) or not OVERRIDES.isdisjoint(sent):
            return None
        return self.find(scope)

    def exemption(self, route: MatchedRoute | None, sent: Sent) -> tuple[Decision | None, Decision | None]:
        """(what lets it pass, what is told where a token is missing) by the exemption of exactly this route today, UTC.

        None for both when there is none, or no entrance. What several handlers are called is no exact name: it holds
        for none of them.
        """
        if route is None or not (self.watched and route.watched):
            return None, None
        exemption = self.policy.exemption(route.id)
        if exemption is None or (exemption.when == "bearer" and not is_bearer_only(sent)):
            return None, None
        if route.is_shared():
            return None, None
        found = decide_exempt(holds=exemption.holds(time.strftime("%Y-%m-%d", time.gmtime(self.clock()))))
        return (found, None) if found.allow else (None, found)

    def passage(self, exempt: Decision | None, route: MatchedRoute | None, method: str) -> Any:
        """What a request that was let through may enter."""
        if exempt is None or route is None or self.policy.mode == "report":
            if self.policy.mode != "framework" or method == "WEBSOCKET":
                return CHECKED
            return AWAITED_AS_WRITE if method in SAFE_METHODS else AWAITED
        return Grant(method, route.handler)

    def length(self, sent: Sent, limit_bytes: int) -> Decision | None:
        """The refusal that the declared length of a body calls for, or None."""
        declared = sent.get(b"content-length")
        if declared is None:
            return None
        text = declared[0]
        if len(set(declared)) > 1 or not text.isdigit() or not text.isascii() or len(text) > 18:
            return LENGTH_INVALID
        return TOO_LARGE if int(text) > limit_bytes else None

    def provenance(self, sent: Sent, peer: str, scheme: str) -> Provenance:
        """What the headers say about where the request comes from.

        `peer` is the address of the other end, `scheme` what the server says the request came by.
        """
        return judge_provenance(
            fetch_site=_said(sent, b"sec-fetch-site"),
            origin=_said(sent, b"origin"),
            referer=_said(sent, b"referer"),
            host=self._host(sent, peer, scheme),
            origins=self.origins,
        )

    def header_token(self, sent: Sent, visitor: CsrfSession) -> TokenState | None:
        """The state of the token in the header; None when there is no such header and the body has to be searched."""
        if visitor.cookie_state == "duplicated":
            return "cookie_duplicated"
        values = sent.get(self.header)
        if values is None:
            return None
        return self.token(values[0].decode("latin-1"), visitor) if len(values) == 1 else "duplicated"

    def found_token(self, outcome: SearchState, value: str, visitor: CsrfSession) -> TokenState:
        """The state of the token after the body was searched."""
        if outcome == "found":
            return self.token(value, visitor)
        return "unreadable" if outcome == "more" else outcome

    def token(self, token: str, visitor: CsrfSession) -> TokenState:
        """What `token` is worth for this visitor, now; `unreadable` when the app's subject callback raises."""
        if not _has_subject(visitor):
            return "unreadable"
        verdict = self._verify(token, visitor.nonce, visitor.subject)
        if verdict == "foreign_anonymous" and visitor.nonce is not None and is_contemporary(token, visitor.nonce):
            # The other tab of a first visit; or this one's page, and the session cookie came with it.
            own_page = self.session is not None and self._verify(token, visitor.nonce, "") == "valid"
            visitor.grace = visitor.anonymous or own_page
        return verdict

    def needs_token(self, provenance: Provenance) -> bool:
        return needs_token(self.policy.mode, provenance)

    def decide(
        self,
        provenance: Provenance,
        state: TokenState | None,
        visitor: CsrfSession,
        sent: Sent,
        over: Decision | None = None,
    ) -> Decision:
        """What becomes of a request that no exemption lets pass; `over` is that of its route which has ended."""
        mode = self.policy.mode
        credentials = mode == "header" and carries_credentials(
            cookie=b"cookie" in sent, authorization=_said(sent, b"authorization")
        )
        judged = decide(mode, provenance, state, anonymous=visitor.grace, credentials=credentials)
        return told_as_over(judged, over)

    def enforces(self, decision: Decision) -> bool:
        """True when a refusal must be answered; in mode `report` it is only noted."""
        return not decision.allow and self.policy.mode != "report"

    def refresh_refusal(self, sent: Sent, peer: str, scheme: str, visitor: CsrfSession) -> Decision | None:
        """The refusal of a request for a fresh token that a page of another origin sent, unless it is a trusted one.

        Or of one whose cookies the app's subject callback cannot read. A trusted page is told by its `Origin`: the
        answer has to name it (CORS).
        """
        provenance = self.provenance(sent, peer, scheme)
        if provenance.state == "hostile" or (provenance.state == "trusted" and self.asking(sent) is None):
            return Decision(False, provenance.reason, FOREIGN_ORIGIN, 403)
        return None if _has_subject(visitor) else SUBJECT_UNREADABLE

    def asking(self, sent: Sent) -> bytes | None:
        """The origin whose page may post here and sent this from elsewhere; for the CORS headers of the answer."""
        values = sent.get(b"origin", ())
        origin = values[0].decode("latin-1") if len(values) == 1 else ""
        from_elsewhere = _said(sent, b"sec-fetch-site") != ["same-origin"]
        return values[0] if from_elsewhere and is_trusted(origin, self.origins) else None

    def note(self, decision: Decision, context: RequestContext | None, sent: Sent | None = None) -> None:
        """Write the decision into the request's line; of a refusal also where the request says it comes from."""
        if context is not None:
            report = not decision.allow and self.policy.mode == "report"
            if not decision.allow and sent is not None:
                # As far as a browser could have sent it: what else stands there is a client's own text.
                if values := sent.get(b"origin"):
                    origin = values[0].decode("latin-1")
                    context.note("origin", (origin if origin == "null" else parse_origin(origin) or "invalid")[:128])
                if values := sent.get(b"sec-fetch-site"):
                    site = values[0].decode("latin-1")
                    context.note("fetchSite", site if site in FETCH_SITES else "invalid")
            context.note("csrf", f"report:{decision.reason}" if report else decision.reason)

    def refusal(self, decision: Decision, scope: Mapping[str, Any]) -> Refusal:
        """The refusal to render, noted in the request's context with its route."""
        code = decision.code or FOREIGN_ORIGIN
        refusal = Refusal(decision.status or 403, code, decision.reason, visitor=VISITOR_WORDS.get(code.id))
        context = current()
        if context is not None:
            context.refusal = refusal
            if context.route is None and self.find is not None:
                route = self.find(scope)
                context.route = route.id.partition(" ")[2] if route else None
        return refusal

    def _verify(self, token: str, nonce: bytes | None, subject: str) -> Verdict:
        now_s, max_age_s = int(self.clock()), self.policy.max_age_s
        return verify(self.ring, token, nonce=nonce, subject=subject, now_s=now_s, max_age_s=max_age_s)

    def _host(self, sent: Sent, peer: str, scheme: str) -> str:
        if self.origins.public:
            return ""
        forwarded = sent.get(b"x-forwarded-host")
        if forwarded and self.proxies and is_in(peer, self.proxies):
            host = forwarded[-1].rpartition(b",")[2].strip().decode("latin-1")
        else:
            hosts = sent.get(b"host", ())
            host = hosts[0].decode("latin-1") if len(hosts) == 1 else ""
        # Whoever says `https` only makes the comparison stricter, so nobody has to be trusted for it.
        secure = scheme in ("https", "wss") or any(b"https" in value for value in sent.get(b"x-forwarded-proto", ()))
        return f"https://{host}" if secure and host else host


def _said(sent: Sent, name: bytes) -> list[str]:
    values = sent.get(name)
    if values is None:
        return []
    return [values[0].decode("latin-1")] if len(values) == 1 else [value.decode("latin-1") for value in values]


def _has_subject(visitor: CsrfSession) -> bool:
    """False when the app's callback fails on what the client sent; that must not become a 500."""
    try:
        return visitor.subject is not None
    except Exception:  # noqa: BLE001 - whatever the callback raises
        return False


def is_bearer_only(sent: Sent) -> bool:
    """True when nothing that a browser sends by itself came along: no cookie, and a token instead of a password.

    A page of another site can add `Authorization` only where a CORS answer allows it; what a browser keeps for Basic or
    Digest it sends with every request.
    """
    return b"cookie" not in sent and is_bearer(_said(sent, b"authorization"))


def collect(headers: Headers) -> Sent:
    """The values of every header by its lower-case name, in the order in which they came."""
    sent: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        lowered = name.lower()
        if lowered in sent:
            sent[lowered].append(value)
        else:
            sent[lowered] = [value]
    return sent


def is_plain_loopback(origins: Iterable[str]) -> bool:
    """True when all origins are http on this machine, where a Secure cookie may be refused; False for none at all."""
    parts = [urlsplit(origin) for origin in origins]
    return bool(parts) and all(part.scheme == "http" and _is_loopback(part.hostname or "") for part in parts)


def is_in(peer: str, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """True when the address `peer` lies in one of `networks`."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    return any(address in network for network in networks)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        fix = "write an address or a network: `10.0.0.0/8`"
        raise DodaiError(ORIGIN_MALFORMED, f"`{text}` of `trusted_proxies` is no network", fix, exit_code=2) from None


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
