"""Ways to tell people: webhooks, Slack, PagerDuty, a command, e-mail. Each raises `OSError` when nobody was told."""

from __future__ import annotations

from collections.abc import Mapping

from dodai.observability.policy import NotifierSection
from dodai.observability.ports import Channel
from dodai.providers.notify.command import CommandNotifier
from dodai.providers.notify.email import Email
from dodai.providers.notify.pagerduty import PagerDuty
from dodai.providers.notify.webhook import DeadMan, Slack, Webhook

__all__ = ["DeadMan", "channel"]


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
