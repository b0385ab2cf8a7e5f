"""What scripts send: fetch, XMLHttpRequest, axios, jQuery, beacons and forms that a script writes.

Read as text: comments and strings are told apart from code, calls are matched with their arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from dodai.core.dataclass import dataclass

ScriptKind = Literal["fetch", "xhr", "axios", "jquery", "beacon", "script"]
ScriptVerdict = Literal["protected", "unprotected", "unknown"]

_LEXEME = re.compile(
    r"""//[^\n]*|/\*.*?(?:\*/|\Z)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?|`(?:\\.|[^`\\])*`?""", re.DOTALL
)
_CALL = re.compile(r"(?<![\w$.])([A-Za-z_$][\w$]*(?:\s*\??\.\s*[A-Za-z_$][\w$]*)*)\s*\(")
_METHOD = re.compile(r"""(?<![\w$])["']?(?:method|type)["']?\s*:\s*(?:(["'`])(\w+)\1)?""", re.IGNORECASE)
_SHORTHAND = re.compile(r"[{,]\s*method\s*[,}]")
_FORM_DATA = re.compile(r"new\s+FormData\s*\(\s*[^)\s]|\.serialize(?:Array)?\s*\(|\bhx\.values\s*\(")
_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$]*")
_UNSAFE = frozenset({"post", "put", "patch", "delete"})
_EMPTY = re.compile(r"""["'`]?\s*\]?\s*[:,=]\s*(["'`])\1""")
_HEADERS_ARE = re.compile(r"headers[\"']?\s*:\s*([A-Za-z_$][\w$.]*)|headers\s*[,}]|\.\.\.\s*([A-Za-z_$][\w$.]*)")


@dataclass(frozen=True, slots=True)
class Sender:
    """A call that changes state, and whether the token goes with it; `at` is where it begins in the script."""

    kind: ScriptKind
    method: str
    target: str
    verdict: ScriptVerdict
    evidence: str
    at: int
    quote: str


@dataclass(frozen=True, slots=True)
class Sending:
    """How requests carry the token: names of headers and of fields, and functions that add it themselves."""

    headers: frozenset[str]
    fields: frozenset[str]
    helpers: frozenset[str]
    everywhere: frozenset[str] = frozenset()

    def has_header(self, text: str) -> bool:
        """True when `text` names one of the headers and does not leave it empty."""
        names = "|".join(re.escape(name) for name in sorted(self.headers))
        found = re.finditer(rf"(?<![\w-])(?:{names})(?![\w-])", text, re.IGNORECASE)
        return any(_EMPTY.match(text, match.end()) is None for match in found)

    def has_field(self, text: str) -> bool:
        names = "|".join(re.escape(name) for name in sorted(self.fields))
        return re.search(rf"""(?<![\w-])(?:{names})(?![\w-])["'`]?\s*[:,\]=]""", text) is not None

    def calls_helper(self, text: str) -> bool:
        return any(re.search(rf"(?<![\w$]){re.escape(name)}\s*\(", text) for name in self.helpers)


class Script:
    """One script: `text` without comments, `code` without what stands in strings either; both of the same length."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.text = _LEXEME.sub(lambda m: m[0] if m[0][0] != "/" else _blank(m[0]), source)
        self.code = _LEXEME.sub(lambda m: m[0][0] + _blank(m[0][1:-1]) + m[0][-1:], self.text)

    def covers(self, sending: Sending) -> frozenset[str]:
        """The kinds whose every request gets the header from this script: `htmx`, `jquery`, `axios`, `fetch`."""
        if not sending.has_header(self.text):
            return frozenset()
        signs = {
            "htmx": r"htmx:config(?:Request|:request)",
            "jquery": r"\bajax(?:Setup|Prefilter|Send)\b",
            "axios": r"\baxios\s*\.\s*(?:defaults|interceptors)\b",
            "fetch": r"\b(?:window|globalThis|self)\s*\.\s*fetch\s*=(?!=)",
        }
        return frozenset(kind for kind, sign in signs.items() if re.search(sign, self.text))

    def strings(self) -> Iterator[tuple[int, str]]:
        """(where it begins, what stands in it) of every string; `${…}` is left as it is."""
        for match in _LEXEME.finditer(self.text):
            if match[0][0] in "\"'`":
                yield match.start() + 1, re.sub(r"\\(.)", r"\1", match[0][1:-1])

    def senders(self, sending: Sending) -> Iterator[Sender]:
        """Every call in it that changes state."""
        for call in _CALL.finditer(self.code):
            name = re.sub(r"\s|\?", "", call[1])
            arguments = self._arguments(call.end())
            last = name.rpartition(".")[2]
            if name in sending.helpers or last in sending.helpers:
                found = self._helper(arguments)
            elif last == "fetch":
                found = self._fetch(arguments, sending)
            elif last == "dodaiFetch":
                found = self._dodai_fetch(arguments, sending)
            elif name in ("navigator.sendBeacon", "window.navigator.sendBeacon"):
                found = self._beacon(arguments, sending)
            elif last == "open" and len(arguments) > 1:
                found = self._xhr(arguments, sending)
            elif name.split(".")[0] == "axios":
                found = self._axios(last, arguments, sending)
            elif name.split(".")[0] in ("$", "jQuery"):
                found = self._jquery(last, arguments, sending)
            elif last == "createElement" and arguments and arguments[0].strip("\"'` ").lower() == "form":
                found = self._made_form(call.start(), sending)
            else:
                continue
            if found is not None:
                kind, method, verdict, evidence = found
                yield Sender(kind, method, _literal(arguments), verdict, evidence, call.start(), self._quote(call))

    def _helper(self, arguments: list[str]) -> _Found | None:
        method = self._method(arguments)
        return ("fetch", method, "protected", "a declared helper sends the token") if method in _SHOWN else None

    def _fetch(self, arguments: list[str], sending: Sending) -> _Found | None:
        method = self._method(arguments)
        if method is None:
            return None
        if "fetch" in sending.everywhere:
            return "fetch", method, "protected", "a script of the page adds the header to every fetch"
        return ("fetch", method, *self._judged(arguments[1:], sending, method))

    def _dodai_fetch(self, arguments: list[str], sending: Sending) -> _Found | None:
        method = self._method(arguments)
        if method is None:
            return None
        if "dodai" in sending.everywhere:
            return "fetch", method, "protected", "`dodaiFetch` sends the token"
        return "fetch", method, "unprotected", "the page has no `csrf_meta()`, whose script brings `dodaiFetch`"

    def _beacon(self, arguments: list[str], sending: Sending) -> _Found | None:
        body = self._with_definitions(arguments[1:])
        if "JSON.stringify" not in body and (_FORM_DATA.search(body) or sending.has_field(body)):
            return "beacon", "POST", "protected", "its body has the field"
        return "beacon", "POST", "unprotected", "a beacon has no headers, and its body has no token field"

    def _xhr(self, arguments: list[str], sending: Sending) -> _Found | None:
        method = arguments[0].strip().strip("\"'`").lower()
        if method not in _UNSAFE or arguments[0].strip()[:1] not in "\"'`":
            return None
        if re.search(r"setRequestHeader", self.code) and sending.has_header(self.text):
            return "xhr", method.upper(), "protected", "the token is sent as a header"
        return "xhr", method.upper(), "unprotected", "sends no token header"

    def _axios(self, last: str, arguments: list[str], sending: Sending) -> _Found | None:
        method = last.upper() if last in _UNSAFE else self._method(["", *arguments])
        if method is None or last not in (*_UNSAFE, "axios", "request"):
            return None
        if "axios" in sending.everywhere:
            return "axios", method, "protected", "a script of the page sets the header for every axios request"
        return ("axios", method, *self._judged(arguments, sending, method))

    def _jquery(self, last: str, arguments: list[str], sending: Sending) -> _Found | None:
        method = "POST" if last == "post" else self._method(["", *arguments]) if last == "ajax" else None
        if method is None:
            return None
        if "jquery" in sending.everywhere:
            return "jquery", method, "protected", "a script of the page sets the header for every jQuery request"
        return ("jquery", method, *self._judged(arguments, sending, method))

    def _made_form(self, at: int, sending: Sending) -> _Found | None:
        after = self.text[at:]
        if not re.search(r"""method["']?\s*[=,:]\s*["'`](?:post)["'`]""", after, re.IGNORECASE):
            return None
        if any(name in after for name in sending.fields):
            return "script", "POST", "protected", "the script puts the token field into the form that it makes"
        return "script", "POST", "unprotected", "the script makes a form without a token field"

    def _judged(self, arguments: list[str], sending: Sending, method: str) -> tuple[ScriptVerdict, str]:
        whole = self._with_definitions(arguments)
        if sending.has_header(whole) or sending.calls_helper(whole):
            return "protected", "the token is sent as a header"
        if "JSON.stringify" not in whole and method != "DELETE":
            if _FORM_DATA.search(whole):
                return "protected", "sends the fields of a form"
            if sending.has_field(whole):
                return "protected", "its body has the field"
        if method == "?":
            return "unknown", "its method is decided at run time"
        if hidden := self._hidden(arguments):
            return "unknown", f"`{hidden}` is decided outside of this script"
        return "unprotected", "sends no token header"

    def _hidden(self, arguments: list[str]) -> str:
        """The first value among options and headers that this script does not define; empty for none."""
        for argument in arguments:
            plain = argument.strip()
            if plain is not arguments[0] and _IDENTIFIER.fullmatch(plain) and not self._definition(plain):
                return plain if argument is not arguments[0] else ""
            for match in _HEADERS_ARE.finditer(argument):
                name = match[1] or match[2] or "headers"
                if not self._definition(name.partition(".")[0]):
                    return name
        return ""

    def _method(self, arguments: list[str]) -> str | None:
        """The unsafe method of the options in `arguments[1:]`, `?` when it is not written here; None for a safe one."""
        options = self._with_definitions(arguments[1:]) if len(arguments) > 1 else ""
        for match in _METHOD.finditer(options):
            if match[2] and match[2].lower() in _UNSAFE:
                return match[2].upper()
            if match[2] is None and "method" in match[0].lower():
                return "?"
        if _SHORTHAND.search(options):
            return "?"
        second = arguments[1].strip() if len(arguments) > 1 else ""
        outside = _IDENTIFIER.fullmatch(second) and second != "undefined" and not self._definition(second)
        return "?" if outside else None

    def _with_definitions(self, arguments: list[str]) -> str:
        """The arguments with what this script says about the names in them, and what it adds to those later."""
        whole = ", ".join(arguments)
        names = list(dict.fromkeys(_IDENTIFIER.findall(_LEXEME.sub("", whole))))[:30]
        more = [self._definition(name) for name in names]
        for name in names:
            added = rf"(?<![\w$.]){re.escape(name)}(?:\.\w+)*\s*(?:\[|\.\s*(?:set|append)\s*\()[^;\n]*"
            more += [match[0].replace(name, "", 1) for match in re.finditer(added, self.text)]
        return " ".join([whole, *more])

    def _definition(self, name: str) -> str:
        pattern = rf"(?:(?:const|let|var)\s+{re.escape(name)}\s*=|function\s+{re.escape(name)}\s*\()"
        match = re.search(pattern, self.code)
        if match is None:
            return ""
        return self.text[match.end() : self._end(match.end(), stops=";")]

    def _arguments(self, start: int) -> list[str]:
        """The arguments of the call whose bracket opens before `start`."""
        found, depth, last = [], 0, start
        for at in range(start, min(len(self.code), start + 20_000)):
            character = self.code[at]
            if character in "([{":
                depth += 1
            elif character in ")]}":
                depth -= 1
            if depth < 0 or (character == "," and depth == 0):
                found.append(self.text[last:at])
                last = at + 1
            if depth < 0:
                break
        return found if any(each.strip() for each in found) else []

    def _end(self, start: int, stops: str) -> int:
        depth, seen = 0, False
        for at in range(start, min(len(self.code), start + 5_000)):
            character = self.code[at]
            if character in "([{":
                depth, seen = depth + 1, True
            elif character in ")]}":
                depth -= 1
            if depth < 0 or (depth == 0 and (character in stops or (character == "\n" and seen))):
                return at
        return min(len(self.code), start + 5_000)

    def _quote(self, call: re.Match[str]) -> str:
        return self.source[call.start() : call.start() + 600].strip().partition("\n")[0][:160]


_Found = tuple[ScriptKind, str, ScriptVerdict, str]
_SHOWN = frozenset({"POST", "PUT", "PATCH", "DELETE", "?"})


def _blank(text: str) -> str:
    return "".join("\n" if character == "\n" else " " for character in text)


def _literal(arguments: list[str]) -> str:
    """The address when the first argument, or the second after a method, is a plain string."""
    for argument in arguments[:2]:
        plain = argument.strip()
        if plain[:1] in ("'", '"', "`") and plain[-1:] == plain[:1] and plain[1:-1].lower() not in _UNSAFE:
            return plain[1:-1]
    return ""
