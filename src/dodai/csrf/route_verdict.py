"""The verdict on one audited route, from what became of the requests that were sent to it; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from dodai.core.dataclass import dataclass
from dodai.csrf.codes import OWN_CHECK_NOT_RUN
from dodai.csrf.policy import CsrfPolicy, Mode

RouteVerdict = Literal["protected", "exempt", "unprotected", "unknown", "safe"]
Probes = Mapping[str, Mapping[str, Any]]

_FORMS = ("text_plain", "disguised", "multipart", "no_content_type", "respelled")
_ELSEWHERE = ("cross_site", "null_origin", "override_read")
HOSTILE = ("missing", "tampered", "foreign", "expired", *_FORMS, *_ELSEWHERE)
_HOSTILE_BY_MODE: Mapping[str, tuple[str, ...]] = {"either": _ELSEWHERE, "header": _ELSEWHERE}
_NAMED = {
    "override_read": "GET that names another method",
    "cross_site": "cross-site",
    "expired": "expired token",
    "text_plain": "text/plain",
    "disguised": "text/plain (`Text/Plain; x=application/json`)",
    "respelled": "differently spelled (one slash at the end more or less)",
    "null_origin": "null-origin",
    "no_content_type": "bodiless",
}
_ALIKE = frozenset({*_FORMS, "null_origin"})
"""Variants of `missing` and `cross_site`: they are spoken of only where they came out otherwise."""
_SIGN_IN = frozenset({301, 302, 303, 307, 308, 401, 403})
_PLACEHOLDER = re.compile(r"<[^<>]+>|\{[^{}]+\}|\(\?P<\w+>(?:[^()]|\([^()]*\))*\)")
_NOT_FOUND, _FAILED = 404, 500
_AROUND = ".NotBehindLayerError"
"""What `dodai.csrf.enforce.entrance` raises in a handler that its layer does not stand in front of."""

_SIGN_IN_FIX = (
    '`[csrf] sign_in = "web.testing:signed_in_headers"` names a function of yours that returns the headers of a '
    "signed-in visitor"
)
_SIGN_IN_SET_FIX = "make `[csrf] sign_in` return headers that the app takes for those of a signed-in visitor"
_MOVE_FIX = "move the check in front of the handler: `dodai.asgi.wrap(app)` (Flask, Django: `dodai.wsgi.wrap(app)`)"
MODE_FIX = '`[csrf] mode = "both"`: in mode "report" nothing is refused'
_SESSION_FIX = (
    "`[csrf] sign_in` names a function of yours that returns the Cookie of a session and its token in the header "
    "that the check reads"
)
_FRONT_FIX = "list it in front of that route"
_SETUP_FIX = "set in `[check.environment]` what the middleware in front of the handler needs"
_LIST_FIX = "mount an app whose routes can be listed, or put `dodai.asgi.wrap` (`dodai.wsgi.wrap`) in front of it"


@dataclass(frozen=True, slots=True)
class Judgement:
    """`by` names who refuses, `second` who wants a token of its own as well; `evidence` is what was seen, in words.

    `fix` is what to do about exactly this cause; empty when the fix of the code's page is the one.
    """

    verdict: RouteVerdict
    by: str = ""
    evidence: str = ""
    fix: str = ""
    second: str = ""


def judge_route(raw: Mapping[str, Any], policy: CsrfPolicy | None = None) -> Judgement:
    """The judgement on one route of an agent's answer, exemptions left aside.

    In the modes that need no token from our own pages only the cross-site request has to be refused.
    """
    policy = policy or CsrfPolicy()
    probes: Probes = raw.get("probes", {})
    hostile = {name: probes[name] for name in _HOSTILE_BY_MODE.get(policy.mode, HOSTILE) if name in probes}
    opaque = raw["kind"] == "opaque"
    if raw["kind"] == "layer":
        return _by_itself(raw)
    if raw.get("unasked"):
        said = "not asked: the time for the audit was over before"
        return Judgement("unknown", evidence=said, fix="raise `[csrf] audit_timeout`")
    if not hostile:
        said = (
            f"`{raw['endpoint']}` leads to routes that cannot be listed" if opaque else "no request could be made to it"
        )
        return Judgement("unknown", evidence=said, fix=_LIST_FIX if opaque else "")
    if reached := [name for name, probe in hostile.items() if probe["reached"]]:
        if taken := _taken(probes, reached, policy):
            said = f"its example path was taken by `{taken}`, which is exempt: no request got to it"
            return Judgement("unknown", evidence=said, fix=_example_fix(raw) or _FRONT_FIX)
        reached = [name for name in reached if name != "disguised" or "text_plain" not in reached]
        plain = [name for name in reached if name not in _ALIKE]
        return _reached(raw, plain or reached, policy.mode)
    refusals = {name: probe for name, probe in hostile.items() if name != "override_read"}
    if around := [name for name, probe in refusals.items() if str(probe.get("error")).endswith(_AROUND)]:
        said = f"a {words(around[0])} request came to the handler around dodai's layer"
        return Judgement("unprotected", evidence=f"{said}; there it was refused (DOD161), as every other one is")
    if any(probe.get("code") == OWN_CHECK_NOT_RUN.id for probe in refusals.values()):
        said = "the framework's own check does not run for it"
        by = f" (`{raw['exemptBy']}`)" if raw.get("exemptBy") else ""
        return Judgement("unprotected", evidence=f"{said}{by}; dodai refuses every request to it (DOD163)")
    refusers = {str(probe["by"]) for probe in refusals.values()}
    if policy.mode == "framework":
        refusers.discard("dodai")  # refuses what comes from elsewhere, in front of the check that asks for the token
    refuser = next(iter(refusers), "")
    if refusers == {""} and _told_apart_by_token(probes):
        refuser = "another"  # nobody known, but nothing else than the token made the difference
    elif len(refusers) != 1 or not refuser:
        return _stopped(raw, refusals, policy)
    found = _judge_valid(raw, refusals, refuser, policy)
    if opaque:
        return _below(raw, found)
    return found


def _taken(probes: Probes, reached: list[str], policy: CsrfPolicy) -> str:
    """The route with an exemption that all requests got to in place of this one; empty when there is none."""
    taken = {str(probes[name].get("other") or "") for name in reached}
    exempt = [policy.exemption(route) for route in taken]
    return min(taken) if all(row is not None and row.when == "always" for row in exempt) else ""


def _by_itself(raw: Mapping[str, Any]) -> Judgement:
    name = raw["endpoint"]
    said = f"`{name}` runs in front of every check and may answer or act by itself (`{raw['calls']}`); it was not asked"
    fix = (
        f"put `dodai.asgi.wrap` (`dodai.wsgi.wrap`) around it, or declare what protects it: `[[csrf.outer]]` with "
        f'`layer = "{name}"`, `reason`, `owner` and `control`'
    )
    return Judgement("unknown", evidence=said, fix=fix)


def _told_apart_by_token(probes: Probes) -> bool:
    """Whether the request with the token in its header got to the handler where the same one without it did not."""
    valid = probes.get("valid_header", {})
    return bool(valid.get("reached")) and not valid.get("other") and "no_content_type" in probes


def words(name: str) -> str:
    """The name of a case as it stands in a sentence."""
    return _NAMED.get(name, name)


def _reached(raw: Mapping[str, Any], reached: list[str], mode: Mode) -> Judgement:
    probes: Probes = raw["probes"]
    tail = "" if reached[-1] == "override_read" else " request"
    said = f"a {' and a '.join(words(name) for name in reached)}{tail} reached "
    others = dict.fromkeys(str(probes[name]["other"]) for name in reached if probes[name].get("other"))
    said += " and ".join(f"`{other}`" for other in others) or "the handler"
    if mode == "report" and any(probes[name].get("requestId") for name in reached):
        return Judgement("unprotected", evidence=f'{said}: mode "report" refuses nothing', fix=MODE_FIX)
    if raw.get("guard") and not others:
        said = f"checked inside the handler: {said}, and `{raw['guard']}` looks like a check in it"
        return Judgement("unknown", evidence=f"{said}, which cannot be proven from outside", fix=_MOVE_FIX)
    return Judgement("unprotected", evidence=said)


def _stopped(raw: Mapping[str, Any], hostile: Probes, policy: CsrfPolicy) -> Judgement:
    """Something that is not a known check stopped some of the hostile requests, or all of them."""
    said = f"stopped by something else than a CSRF check: {_statuses(hostile)}"
    silent = [probe for probe in hostile.values() if not probe["by"]]
    if silent and all(probe["status"] == _NOT_FOUND for probe in silent) and (fix := _host_fix(raw)):
        return Judgement("unknown", evidence=said, fix=fix)
    if any(probe["status"] in _SIGN_IN for probe in silent):
        return Judgement("unknown", evidence=said, fix=_SIGN_IN_SET_FIX if policy.sign_in else _SIGN_IN_FIX)
    if any(probe["error"] for probe in silent):
        return Judgement("unknown", evidence=said, fix=_SETUP_FIX)
    return Judgement("unknown", evidence=said, fix=_MOVE_FIX)


def _judge_valid(raw: Mapping[str, Any], hostile: Probes, refuser: str, policy: CsrfPolicy) -> Judgement:
    probes: Probes = raw["probes"]
    seen = f"{', '.join(words(name) for name in hostile if name not in _ALIKE)} refused"
    valid = [probes[name] for name in ("valid", "valid_header", "valid_both") if name in probes]
    if not valid:
        said = f"{seen}; no valid request could be made to compare with"
        return Judgement("unknown", refuser, said, _SESSION_FIX)
    reached = [probe for probe in valid if probe["reached"]]
    if any(not probe.get("other") for probe in reached):
        alone = [probe for name, probe in probes.items() if name in ("valid", "valid_header")]
        second = "" if any(probe["reached"] for probe in alone) else str(alone[-1]["by"]) if alone else ""
        more = f" with the token of {second} as well" if second else ""
        return Judgement("protected", refuser, f"{seen}, valid{more} reached the handler", second=second)
    if reached:
        said = f"its example path was taken by `{reached[0]['other']}`: no request got to it"
        return Judgement("unknown", refuser, said, _example_fix(raw) or _FRONT_FIX)
    return _passed(raw, seen, refuser, policy, valid[-1])


def _passed(raw: Mapping[str, Any], seen: str, refuser: str, policy: CsrfPolicy, last: Mapping[str, Any]) -> Judgement:
    """A valid request got past the check and not to the handler."""
    if last["by"]:
        said = f"{seen}, but a valid request was refused as well ({last['status']} by {last['by']})"
        return Judgement("unknown", refuser, said, _SESSION_FIX)
    if last["error"]:
        said = f"{seen}; a valid request passed the check and then failed with `{last['error']}`"
        return Judgement("unknown", refuser, said, _SETUP_FIX)
    if last["status"] in _SIGN_IN:
        said = f"{seen}, valid passed the check and was sent to sign in ({_status(last)})"
        return Judgement("protected", refuser, said)
    said = f"{seen}; a valid request passed the check but was answered {_status(last)} elsewhere"
    if last["status"] >= _FAILED:
        return Judgement("unknown", refuser, said, _SETUP_FIX)
    fix = (_host_fix(raw) or _example_fix(raw)) if last["status"] == _NOT_FOUND else ""
    return Judgement("unknown", refuser, said, fix or (_SIGN_IN_SET_FIX if policy.sign_in else _SIGN_IN_FIX))


def _below(raw: Mapping[str, Any], found: Judgement) -> Judgement:
    """What cannot be listed is covered where dodai's layer refuses below it: no exemption can name a route there."""
    if found.verdict == "protected" and found.by == "dodai":
        said = (
            f"`{raw['endpoint']}` cannot be listed; the layer in front refuses every method below it: {found.evidence}"
        )
        return Judgement("protected", found.by, said, second=found.second)
    said = f"`{raw['endpoint']}` leads to routes that cannot be listed"
    return Judgement("unknown", found.by, said, _LIST_FIX)


def _example_fix(raw: Mapping[str, Any]) -> str:
    """The setting that gives the audit a path this route takes; empty when its path has nothing to fill in."""
    names = dict.fromkeys(_PLACEHOLDER.findall(str(raw["path"])))
    return "; ".join(f'`[csrf.example] "{name}" = "…"`' for name in names) + " gives a value it takes" if names else ""


def _host_fix(raw: Mapping[str, Any]) -> str:
    """What makes the application serve a route of a host; empty where the audit knows which to ask for."""
    if not raw.get("host") or raw.get("servedAt") or raw["framework"] != "flask":
        return ""
    return (
        f"it is served at the subdomain `{raw['host']}` alone: set `SERVER_NAME`, by `[check.environment]` where it is "
        "read from a variable, and `subdomain_matching=True`"
    )


def _status(probe: Mapping[str, Any]) -> str:
    where = f" to `{probe['location']}`" if probe.get("location") else ""
    return f"{probe['status'] or probe['error'] or 'no answer'}{where}"


def _statuses(probes: Probes) -> str:
    alike = {_status(probe) for name, probe in probes.items() if name not in _ALIKE}
    shown = {n: p for n, p in probes.items() if n not in _ALIKE or _status(p) not in alike}
    return ", ".join(f"{words(name)} {_status(probe)}" for name, probe in shown.items())
