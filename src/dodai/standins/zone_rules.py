"""The part of Cloudflare's rule language that rules of dodai are written in, and what the stand-in's zone does by them.

A rule in other words is kept, as all rules are, and named as not carried out.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dodai.core.dataclass import dataclass

CACHE, FIREWALL = "http_request_cache_settings", "http_request_firewall_custom"
HEADERS, LIMITS = "http_request_late_transform", "http_ratelimit"
_TOKEN = re.compile(r'\s*(?:("(?:\\.|[^"\\])*")|(\d+)|([a-z_][a-z0-9_.]*)|([(){},]))')
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class ZoneRequest:
    """What rules are asked about: a request as it came to the zone."""

    host: str
    path: str
    method: str
    client: str
    at_s: float


Meets = Callable[[ZoneRequest], bool]
Value = Callable[[ZoneRequest], "str | int"]
FIELDS: Mapping[str, Value] = {
    "http.host": lambda asked: asked.host,
    "http.request.uri.path": lambda asked: asked.path,
    "http.request.method": lambda asked: asked.method,
    "http.request.timestamp.sec": lambda asked: int(asked.at_s),
}


class NotCarriedOutError(Exception):
    """A rule says something that this stand-in does not know."""


def meets(expression: str) -> Meets:
    """Whether a request meets `expression`; raises `NotCarriedOutError` for words that are not known here."""
    words = _RuleWords(list(_tokens(expression)))
    found = words.either()
    if words.left:
        raise NotCarriedOutError(f"`{words.left[0]}` was not expected")
    return found


def _tokens(text: str) -> Iterator[str]:
    at, text = 0, text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise NotCarriedOutError(f"`{text[at : at + 12]}` is not known")
        at = found.end()
        yield found.group().strip()


@dataclass(slots=True)
class _RuleWords:
    """The tokens that are left; `or` binds least, then `and`, then `not`."""

    left: list[str]

    def next(self, wanted: str = "") -> str:
        if not self.left or (wanted and self.left[0] != wanted):
            raise NotCarriedOutError(f"`{wanted or 'a word'}` was expected")
        return self.left.pop(0)

    def either(self) -> Meets:
        parts = [self.both()]
        while self.left[:1] == ["or"]:
            self.next()
            parts.append(self.both())
        return lambda asked: any(part(asked) for part in parts)

    def both(self) -> Meets:
        parts = [self.one()]
        while self.left[:1] == ["and"]:
            self.next()
            parts.append(self.one())
        return lambda asked: all(part(asked) for part in parts)

    def one(self) -> Meets:
        word = self.next()
        if word == "not":
            inner = self.one()
            return lambda asked: not inner(asked)
        if word == "(":
            grouped = self.either()
            self.next(")")
            return grouped
        if word == "true":
            return lambda _: True
        if word == "starts_with":
            return self._starts_with()
        return self._compared(word)

    def _starts_with(self) -> Meets:
        self.next("(")
        field = self._field(self.next())
        self.next(",")
        prefix = self._literal()
        self.next(")")
        return lambda asked: str(field(asked)).startswith(str(prefix))

    def _compared(self, name: str) -> Meets:
        field, how = self._field(name), self.next()
        if how == "in":
            self.next("{")
            several = set[str | int]()
            while self.left[:1] != ["}"]:
                several.add(self._literal())
            self.next("}")
            return lambda asked: field(asked) in several
        if how not in ("eq", "ne", "ge"):
            raise NotCarriedOutError(f"`{how}` is not known")
        given = self._literal()
        if how == "ge":
            least = int(given)
            return lambda asked: int(field(asked)) >= least
        return lambda asked: (field(asked) == given) is (how == "eq")

    def _field(self, name: str) -> Value:
        if name not in FIELDS:
            raise NotCarriedOutError(f"`{name}` is not known")
        return FIELDS[name]

    def _literal(self) -> str | int:
        word = self.next()
        if word.startswith('"'):
            return _ESCAPED.sub(r"\1", word[1:-1])
        if word.isdecimal():
            return int(word)
        raise NotCarriedOutError(f"`{word}` is no value")


class ZoneRules:
    """Carries out the rules of `rulesets`, as they are at each request. `not_carried_out` says which were not, and why.

    Each `ref` is there once; it is looked at anew when the rule changes. Counts are of one data centre.
    """

    def __init__(self, rulesets: Mapping[str, Mapping[str, Any]]) -> None:
        self.rulesets = rulesets
        self.not_carried_out: dict[str, str] = {}
        self._read: dict[str, Meets] = {}
        self._lock = threading.Lock()
        self._counted: dict[tuple[str, str], list[float]] = {}
        self._held_until: dict[tuple[str, str], float] = {}

    def headers(self, asked: ZoneRequest) -> Mapping[str, str | None]:
        """What requests say on their way to the origin, by lower-case name; None for what is taken away."""
        changed: dict[str, str | None] = {}
        for rule in self._met(HEADERS, asked, ("rewrite",)):
            for name, told in (rule.get("action_parameters") or {}).get("headers", {}).items():
                changed[name.lower()] = told["value"] if told["operation"] == "set" else None
        return changed

    def blocked(self, asked: ZoneRequest) -> bool:
        return bool(self._met(FIREWALL, asked, ("block",)))

    def over_limit(self, asked: ZoneRequest) -> bool:
        """Counts the request, and says whether its client has sent more than a rule lets through."""
        with self._lock:
            over = [self._is_over(rule, asked) for rule in self._met(LIMITS, asked, ("block",))]  # each of them counts
        return any(over)

    def may_keep(self, asked: ZoneRequest) -> bool | None:
        """Whether the answer may be kept for others: the last rule decides; None where no rule is about it."""
        told = [rule.get("action_parameters") or {} for rule in self._met(CACHE, asked, ("set_cache_settings",))]
        return next((bool(one["cache"]) for one in reversed(told) if "cache" in one), None)

    def _is_over(self, rule: Mapping[str, Any], asked: ZoneRequest) -> bool:
        limit, key = rule["ratelimit"], (rule["ref"], asked.client)
        if asked.at_s < self._held_until.get(key, 0.0):
            return True
        recent = [at for at in self._counted.get(key, ()) if at > asked.at_s - limit["period"]]
        self._counted[key] = recent = [*recent, asked.at_s]
        if len(recent) > limit["requests_per_period"]:
            self._held_until[key] = asked.at_s + limit["mitigation_timeout"]
            return True
        return False

    def _met(self, phase: str, asked: ZoneRequest, actions: Sequence[str]) -> list[Mapping[str, Any]]:
        """The rules of a phase that `asked` meets, in their order; all of them have one of `actions`."""
        ruleset = self.rulesets.get(phase)
        found = []
        for rule in list(ruleset["rules"]) if ruleset else ():
            try:
                if rule["action"] not in actions:
                    raise NotCarriedOutError(f"the action `{rule['action']}` is not known")  # noqa: TRY301
                if rule["enabled"] and self._meets(rule["expression"])(asked):
                    found.append(rule)
            except NotCarriedOutError as error:
                self.not_carried_out[rule["ref"]] = str(error)
            else:
                self.not_carried_out.pop(rule["ref"], None)
        return found

    def _meets(self, expression: str) -> Meets:
        known = self._read.get(expression)
        if known is None:
            known = self._read[expression] = meets(expression)
        return known
