"""Webhooks: Alertmanager's body for whatever takes it, Slack's, and a dead man's switch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2

from dodai.core.dataclass import dataclass
from dodai.observability.ports import Message, RetryLaterError

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """POSTs the body of Alertmanager's webhook, version 4."""

    name: str
    url: str
    variable: str
    environ: Mapping[str, str]

    def send(self, message: Message) -> None:
        _post(self, message.as_alertmanager(self.name))


@dataclass(frozen=True, slots=True)
class Slack:
    """POSTs to an incoming webhook of Slack, or of anything that speaks like it."""

    name: str
    url: str
    variable: str
    environ: Mapping[str, str]

    def send(self, message: Message) -> None:
        head, _, rest = message.text.partition("\n")
        _post(self, {"text": f"*{_escaped(head)}*\n{_escaped(rest)}"})


def _escaped(text: str) -> str:
    """What Slack would read as markup or as a mention of everybody (api.slack.com, "Formatting text")."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@dataclass(frozen=True, slots=True)
class DeadMan:
    """GETs an address of healthchecks.io, Dead Man's Snitch and their like."""

    url: str
    variable: str
    environ: Mapping[str, str]

    def ping(self) -> None:
        send("GET", _address(self.url, self.variable, self.environ))


def _post(where: Webhook | Slack, body: Mapping[str, Any]) -> None:
    send("POST", _address(where.url, where.variable, where.environ), body)


def _address(url: str, variable: str, environ: Mapping[str, str]) -> str:
    found = environ.get(variable, "") if variable else url
    if urlsplit(found).scheme not in ("http", "https"):
        missing = f"`{variable}` is not set to" if variable else "`url` is not"
        raise ValueError(f"{missing} an http or https address")
    return found


def send(method: str, url: str, body: Mapping[str, Any] | None = None) -> None:
    """Ask for `url`; `OSError` says what was answered, `RetryLaterError` also when to come back, none the address."""
    try:
        answer = httpx2.request(method, url, json=body, timeout=TIMEOUT_S)
    except httpx2.HTTPError as error:
        # the address is a secret, and exceptions of clients like to repeat it
        raise OSError(f"no answer ({type(error).__name__})") from error
    if answer.status_code >= 300:
        after = answer.headers.get("retry-after", "")
        if after.isdigit():
            raise RetryLaterError(f"answered {answer.status_code}, come back in {after} s", float(after))
        raise OSError(f"answered {answer.status_code}")
