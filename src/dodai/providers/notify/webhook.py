"""Webhooks: Alertmanager's body for whatever takes it, and Slack's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from dodai.observability.ports import Message

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


def _post(where: Webhook | Slack, body: Mapping[str, Any]) -> None:
    url = where.environ.get(where.variable, "") if where.variable else where.url
    if urlsplit(url).scheme not in ("http", "https"):
        missing = f"`{where.variable}` is not set to" if where.variable else "`url` is not"
        raise ValueError(f"{missing} an http or https address")
    try:
        answer = httpx2.post(url, json=body, timeout=TIMEOUT_S)
    except httpx2.HTTPError as error:
        # the address is a secret, and exceptions of clients like to repeat it
        raise OSError(f"no answer ({type(error).__name__})") from error
    if answer.status_code >= 300:
        raise OSError(f"answered {answer.status_code}")
