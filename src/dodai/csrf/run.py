"""The drills of CSRF protection: what a hostile page can send, through the real edge."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from dodai.core.page import Text
from dodai.csrf.policy import PROBE_PATH, REFRESH_PATH, CsrfPolicy
from dodai.engine.drill import Drill, DrillResult, Response, Stage

FOREIGN = "https://attacker.example"


def drills(policy: CsrfPolicy, targets: tuple[str, ...]) -> tuple[Drill, ...]:
    """The drills; `targets` are paths that change state, asked only in ways that must be refused before the handler."""
    if not targets or policy.mode == "report":
        return ()
    return (
        Drill(
            "forged-posts-are-refused",
            "csrf",
            Text("Posts a hostile page could send are refused", "悪意あるページが送れる POST はすべて拒否される"),
            "403 with a code and the request id for each; a genuine post passes the same layer",
            partial(_forged, policy, targets),
        ),
    )


async def _forged(policy: CsrfPolicy, targets: tuple[str, ...], stage: Stage) -> DrillResult:
    issued = await stage.request("GET", REFRESH_PATH)
    token = json.loads(issued.text)["token"] if issued.status_code == 200 else ""
    cases: dict[str, tuple[dict[str, str], dict[str, str]]] = {
        "missing": ({}, {}),
        "tampered": ({policy.field: _tampered(token)}, {}),
        "foreign origin": ({policy.field: token}, {"origin": FOREIGN, "sec-fetch-site": "cross-site"}),
    }
    wrong: list[str] = []
    request_ids: list[str] = []
    for path in targets:
        for name, (form, headers) in cases.items():
            answer = await stage.request("POST", path, data=form or {"x": "1"}, headers=headers)
            request_ids.append(answer.headers.get("x-request-id", ""))
            if problem := _not_refused(answer):
                wrong.append(f"{name} POST {path}: {problem}")
    genuine = await stage.request("POST", PROBE_PATH, headers={policy.header: token})
    if genuine.status_code != 204:
        wrong.append(f"genuine POST {PROBE_PATH}: status {genuine.status_code}")
    asked = len(targets) * len(cases)
    observed = f"{asked - len(wrong)} of {asked} forged posts refused, genuine post answered {genuine.status_code}"
    details: Mapping[str, Any] = {"targets": list(targets), "wrong": wrong}
    return DrillResult(observed, not wrong, tuple(request_ids[:3]), details)


def _not_refused(answer: Response) -> str:
    """Why the answer is no refusal of ours; empty when it is one."""
    if answer.status_code != 403:
        return f"status {answer.status_code}"
    if "DOD1" not in answer.text:
        return "the refusal names no code"
    request_id = answer.headers.get("x-request-id", "")
    if not request_id or request_id not in answer.text:
        return "the refusal does not show its request id"
    return ""


def _tampered(token: str) -> str:
    """The token with one character of its signature changed."""
    middle = len(token) - 8
    return token[:middle] + ("A" if token[middle : middle + 1] != "A" else "B") + token[middle + 1 :]
