"""What the environment says, read once at start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Settings:
    """A missing name is a `KeyError` before anything has started; no secret has a default.

    Secrets may hold several values, `new,old`: the first one signs, all of them are recognised, so that a rotation
    signs nobody out.
    """

    backend_addr: str
    release: str
    session_keys: tuple[str, ...] = field(repr=False)
    webhook_keys: tuple[str, ...] = field(repr=False)
    issuer: str
    client_id: str
    client_secret: str = field(repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        return cls(
            backend_addr=environment["BACKEND_ADDR"],
            release=environment.get("DODAI_RELEASE", ""),
            session_keys=_values(environment["SESSION_SECRET"]),
            webhook_keys=_values(environment["REVIEW_WEBHOOK_SECRET"]),
            issuer=_issuer(environment),
            client_id=environment.get("OIDC_CLIENT_ID", "quiz"),
            client_secret=environment["OIDC_CLIENT_SECRET"],
        )

    @property
    def issuer_origin(self) -> str:
        url = urlsplit(self.issuer)
        return f"{url.scheme}://{url.netloc}"


def _values(text: str) -> tuple[str, ...]:
    return tuple(value for value in text.split(",") if value)


def _issuer(environment: Mapping[str, str]) -> str:
    """`OIDC_ISSUER`, or the stand-in that runs beside us in local environments."""
    named = environment.get("OIDC_ISSUER")
    return named.rstrip("/") if named else f"http://{environment['IDENTITY_ADDR']}/application/o/quiz"
