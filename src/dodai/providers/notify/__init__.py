"""Ways to tell people: webhooks, Slack, PagerDuty, a command, e-mail. Each raises `OSError` when nobody was told."""

from __future__ import annotations

import os
import smtplib
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import make_msgid
from typing import Any
from urllib.parse import urlsplit

import httpx2

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.observability.policy import NotifierSection
from dodai.observability.ports import Channel, Message, RetryLaterError, Told

__all__ = ["DeadMan", "channel"]

COMMAND_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class CommandNotifier:
    """A command of the user's: the text on its standard input, the rest in its environment; told when it ends in 0."""

    words: tuple[str, ...]

    def send(self, message: Message) -> None:
        about = {
            "DODAI_ALERT": message.alert,
            "DODAI_ALERT_STATUS": message.status,
            "DODAI_ALERT_SEVERITY": message.severity,
            "DODAI_ALERT_RUNBOOK": message.runbook,
        }
        try:
            done = subprocess.run(
                list(self.words), input=message.text, env={**os.environ, **about}, capture_output=True, text=True,
                timeout=COMMAND_TIMEOUT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise OSError(f"`{self.words[0]}` did not end within {COMMAND_TIMEOUT_S:g} s") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [""])[-1][:200]
            raise OSError(f"`{self.words[0]}` ended with {done.returncode}: {last}")


TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Email:
    """Told when the server took it. STARTTLS where the server offers it."""

    smtp: str
    sender: str
    to: tuple[str, ...]

    def send(self, message: Message) -> None:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self.sender, ", ".join(self.to), message.title
        mail["Message-ID"] = make_msgid(domain=self.sender.rpartition("@")[2] or None)
        mail.set_content(message.text)
        host, _, port = self.smtp.rpartition(":")
        try:
            with smtplib.SMTP(host or self.smtp, int(port) if host else 25, timeout=TIMEOUT_S) as server:
                server.ehlo()
                if server.has_extn("starttls"):
                    server.starttls()
                refused = server.send_message(mail)
        except smtplib.SMTPException as error:
            raise OSError(f"the mail server refused: {error}") from error
        if refused:
            raise OSError(f"the mail server refused {', '.join(refused)}")


ENQUEUE = "https://events.pagerduty.com/v2/enqueue"
_SUMMARY_CHARS = 1024
"""The longest summary that PagerDuty takes (developer.pagerduty.com, "Send an alert event")."""


@dataclass(frozen=True, slots=True)
class PagerDuty:
    """`variable` holds the routing key of an integration. What was sent before a failure is sent again with its key."""

    url: str
    variable: str
    environ: Mapping[str, str]

    def send(self, message: Message) -> None:
        key = self.environ.get(self.variable, "")
        if not key:
            raise ValueError(f"`{self.variable}` is not set to a routing key")
        for thing in message.things:
            send("POST", self.url or ENQUEUE, _event(key, message, thing))


def _event(key: str, message: Message, thing: Told) -> dict[str, Any]:
    """The body of one event; that of an end needs no payload."""
    base = {"routing_key": key, "dedup_key": f"dodai/{thing.fingerprint}"}
    if message.status == "resolved":
        return {**base, "event_action": "resolve"}
    where = f"{message.project}/{message.env}"
    details = {
        "alert": message.alert,
        "code": message.code,
        "value": thing.value,
        "threshold": thing.threshold,
        "failed": f"{thing.bad} of {thing.count}",
        "trace": [proposal.TRACE(request=sample) for sample in thing.samples],
        "also": list(message.also),
        "runbook": message.runbook,
    }
    said = f"{where} {message.alert}: {thing.about}, {message.summary}"
    payload = {
        "summary": "".join(char if char.isprintable() else " " for char in said)[:_SUMMARY_CHARS],
        "source": where,
        "severity": "critical" if message.severity == "page" else "warning",
        "timestamp": datetime.fromtimestamp(thing.began_s, UTC).isoformat(timespec="milliseconds"),
        "component": thing.about,
        "class": message.alert,
        "custom_details": details,
    }
    links = [{"href": message.runbook, "text": "First response"}] if message.runbook.startswith("http") else []
    return {**base, "event_action": "trigger", "client": "dodai", "payload": payload, "links": links}


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


def channel(section: NotifierSection, environ: Mapping[str, str]) -> Channel:
    """The channel that `section` describes. A URL is looked up when it is used: one that is missing fails the sending,
    so that it is shown and tried again instead of ending `watch`.
    """
    match section.kind:
        case "command":
            return CommandNotifier(section.command)
        case "email":
            return Email(section.smtp, section.sender, section.to)
        case "pagerduty":
            return PagerDuty(section.url, section.variable, environ)
        case "slack":
            return Slack(section.name, section.url, section.variable, environ)
    return Webhook(section.name, section.url, section.variable, environ)
