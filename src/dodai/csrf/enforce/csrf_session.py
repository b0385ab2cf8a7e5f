"""One visitor during one request: the nonce in the cookie, the tokens made from it, and what the response must say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from inspect import iscoroutinefunction, signature
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from dodai.core.errors import DodaiError
from dodai.core.request import current
from dodai.csrf.codes import NOT_INSTALLED, TOKEN_AFTER_START
from dodai.csrf.enforce.entrance import AWAITED, AWAITED_AS_WRITE, CHECKED
from dodai.csrf.token import decode_nonce, encode_nonce, first_nonce, is_anonymous, issue, new_nonce

if TYPE_CHECKING:
    from dodai.csrf.decision import Decision
    from dodai.csrf.enforce.csrf_protection import CsrfProtection
    from dodai.csrf.policy import CsrfPolicy

CookieState = Literal["unread", "absent", "good", "bad", "duplicated"]

_COOKIE_LENGTH = len(b"cookie")
_NO_SCOPE: Mapping[str, Any] = MappingProxyType({})
_SHARED_CACHES = frozenset({b"surrogate-control", b"x-accel-expires", b"edge-control"})


class CsrfSession:
    """A plain class with slots: one is made for every request, and most are never asked anything."""

    __slots__ = (
        "_gate",
        "_headers",
        "_nonce",
        "_scope",
        "_state",
        "_subject",
        "astray",
        "changed",
        "grace",
        "outer",
        "passage",
        "prefix",
        "rendered",
        "replaced",
        "started",
        "unproven",
    )

    def __init__(self, gate: CsrfProtection, headers: Sequence[tuple[bytes, bytes]], scope: Mapping[str, Any]) -> None:
        self._gate = gate
        self._headers = headers
        self._scope = scope if gate.subject is not None else _NO_SCOPE  # else a cycle for every request
        self._state: CookieState = "unread"
        self._nonce: bytes | None = None
        self._subject: str | None = None
        self.passage: Any = None
        self.outer: CsrfSession | None = None
        self.prefix = ""
        self.astray: Decision | None = None
        self.changed = self.grace = self.rendered = False
        self.replaced = self.started = self.unproven = False

    def allow(self, passage: Any) -> None:
        """Let the request through: `CHECKED`, or for what a `Grant` names, which is unproven until it is entered."""
        self.passage = passage
        self.unproven = passage is not CHECKED and not self.awaits

    @property
    def awaits(self) -> bool:
        """Whether the framework's own check has yet to accept the token."""
        return self.passage is AWAITED or self.passage is AWAITED_AS_WRITE

    def only_counts(self, decision: Decision) -> bool:
        """True in the mode that refuses nothing; what it would have refused is in the line then."""
        if self.policy.mode == "report":
            self._gate.note(decision, current())
            return True
        return False

    def must_be_replaced(self, status: int) -> bool:
        """True when the application answers something that it was not judged for.

        A refusal of its own on the way to the handler (a wrong signature, say) has done nothing.
        """
        return self.unproven and (self.astray is not None or status < 400)

    @property
    def cookie_state(self) -> CookieState:
        if self._state == "unread":
            self._state, self._nonce = read_cookie(self._headers, self._gate.pattern)
        return self._state

    @property
    def policy(self) -> CsrfPolicy:
        return self._gate.policy

    @property
    def nonce(self) -> bytes | None:
        """The nonce of this visitor's one good cookie, or the one made in this request."""
        return self._nonce if self.changed or self.cookie_state == "good" else None

    @property
    def subject(self) -> str:
        """The stable session or user id that the app's callback names, or its session cookie; empty for nobody."""
        if self._subject is None:
            callback, session = self._gate.subject, self._gate.session
            if callback is not None:
                named = callback(self._scope)
                if hasattr(named, "__await__"):
                    raise TypeError("`subject` gave something to await instead of the name of a session or user")
            else:
                # Two cookies of that name (another host of the domain may set one) are a subject of their own.
                named = b" ".join(values_of(self._headers, session)).decode("latin-1") if session is not None else None
            self._subject = "" if named is None else str(named)
        return self._subject

    @property
    def anonymous(self) -> bool:
        nonce = self.nonce
        return not self.subject and (nonce is None or is_anonymous(nonce))

    @property
    def touched(self) -> bool:
        """True when the response has to be changed."""
        return self.rendered or self.changed

    def token(self) -> str:
        """A new token for this visitor; sets the cookie if there is none.

        DOD182 when the response has begun: too late for the cookie, and for keeping the page out of shared caches.
        """
        if self.policy.mode == "framework":
            fix = (
                "render the framework's own (`{% csrf_token %}`, `form.hidden_tag()`), or choose another `[csrf] mode`"
            )
            said = '`[csrf] mode = "framework"` leaves tokens to the framework, and one of dodai was asked for'
            raise DodaiError(NOT_INSTALLED, said, fix)
        if self.started and not self.rendered:
            raise _after_start("a token was rendered")
        gate = self._gate
        nonce = self.nonce
        if nonce is None:
            subject = self.subject
            nonce = self._set(first_nonce(gate.ring, subject)) if subject else self._renew(signed_in=False)
        self.rendered = True
        return issue(gate.ring, nonce=nonce, subject=self.subject, now_s=int(gate.clock()), random=gate.random(16))

    def login(self, subject: object = None) -> None:
        """Rotate the nonce because somebody signed in: tokens from before are worth nothing in this session.

        `subject` is what the callback will say from the next request on, for a token in this very response.
        """
        self._renew(signed_in=True)
        if subject is not None:
            self._subject = str(subject)

    def logout(self) -> None:
        """Rotate the nonce because somebody signed out."""
        self._renew(signed_in=False)
        self._subject = ""

    def amend(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The response headers, with the cookie and, if a token is in the page, kept out of shared caches."""
        amended = private(headers) if self.rendered else list(headers)
        if self.changed and self._nonce is not None:
            secure = b"; Secure" if self._gate.secure else b""
            value = encode_nonce(self._nonce).encode("ascii")
            cookie = self._gate.cookie + b"=" + value + b"; Path=/" + secure + b"; HttpOnly; SameSite=Lax"
            amended.append((b"set-cookie", cookie))
        return amended

    def _renew(self, *, signed_in: bool) -> bytes:
        gate = self._gate
        return self._set(new_nonce(gate.random(16), signed_in=signed_in, now_s=int(gate.clock())))

    def _set(self, nonce: bytes) -> bytes:
        if self.started:
            raise _after_start("the CSRF cookie had to be set")
        self._nonce = nonce
        self.changed = True
        return nonce


def check_subject(subject: Any) -> None:
    """Raise `TypeError` for what cannot be called with the scope or environ alone, or is awaited."""
    if iscoroutinefunction(subject):
        raise TypeError("`subject` must be a plain function: it is called in each request and not awaited")
    try:
        signature(subject).bind({})
    except TypeError:
        named = getattr(subject, "__name__", type(subject).__name__)
        raise TypeError(
            f"`subject` must be a function of one argument, the ASGI scope or WSGI environ, and `{named}` is not: "
            "write `def subject(scope): ...`, for Starlette's sessions "
            '`subject=session_subject(TimestampSigner(secret_key), "user_id")`'
        ) from None
    except ValueError:
        return  # a function of C that says nothing about its arguments


def cookie_pattern(name: bytes) -> re.Pattern[bytes]:
    """Finds the values of the cookie `name` in a Cookie header.

    Only spaces and tabs around a name are left away: a browser lets another host of the domain set a form feed and
    `__Host-…` as a name, and whoever strips more takes that for the protected one.
    """
    return re.compile(rb"(?:^|;)[ \t]*" + re.escape(name) + rb"[ \t]*=([^;]*)")


def read_cookie(headers: Iterable[tuple[bytes, bytes]], pattern: re.Pattern[bytes]) -> tuple[CookieState, bytes | None]:
    """What stands in the request's cookie; two of that name are one too many, even if they are alike."""
    found = values_of(headers, pattern)
    if len(found) != 1:
        return ("duplicated" if found else "absent"), None
    nonce = decode_nonce(found[0].strip(b" \t").decode("latin-1"))
    return ("good", nonce) if nonce is not None else ("bad", None)


def values_of(headers: Iterable[tuple[bytes, bytes]], pattern: re.Pattern[bytes]) -> list[bytes]:
    """What a `cookie_pattern` finds in all Cookie headers (HTTP/2 may send several)."""
    sent = [text for name, text in headers if len(name) == _COOKIE_LENGTH and name.lower() == b"cookie"]
    return pattern.findall(sent[0]) if len(sent) == 1 else [value for text in sent for value in pattern.findall(text)]


def private(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """`headers` with `Vary: Cookie` and without anything that lets a shared cache keep the response."""
    kept: list[tuple[bytes, bytes]] = []
    directives: list[bytes] = []
    vary: list[bytes] = []
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"cache-control":
            directives += [part.strip() for part in value.split(b",") if part.strip()]
        elif lowered == b"vary":
            vary += [part.strip() for part in value.split(b",") if part.strip()]
        elif lowered not in _SHARED_CACHES and not lowered.endswith(b"cdn-cache-control"):
            kept.append((name, value))
    words = {directive.lower() for directive in directives}  # `private="set-cookie"` covers that header alone
    directives = [d for d in directives if d.lower().partition(b"=")[0] not in (b"public", b"s-maxage")]
    if not words & {b"private", b"no-store"}:
        directives.insert(0, b"private")
    if b"*" not in vary and b"cookie" not in (part.lower() for part in vary):
        vary.append(b"Cookie")
    return [*kept, (b"cache-control", b", ".join(directives)), (b"vary", b", ".join(vary))]


def _after_start(what: str) -> DodaiError:
    fix = "call `csrf_token()`, `login()` or `logout()` before the first byte of the response is sent"
    return DodaiError(TOKEN_AFTER_START, f"the response had begun when {what}", fix)
