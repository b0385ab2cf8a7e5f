"""Requests against a whole environment: the probe of a deploy, and the posts that a hostile page could send."""

from __future__ import annotations

import json

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.csrf import codes
from dodai.csrf.policy import PROBE_PATH, REFRESH_PATH, CsrfPolicy
from dodai.csrf.ports import Request, Response

FOREIGN = "https://attacker.example"


@dataclass(frozen=True, slots=True)
class ProbePost:
    """One post from outside; `problem` is empty when the answer was the only right one."""

    case: str
    path: str
    status: int
    request_id: str
    problem: str
    method: str = "POST"


async def attack(request: Request, policy: CsrfPolicy, targets: tuple[str, ...]) -> tuple[ProbePost, ...]:
    """What the system at the other end answers to posts a hostile page could send, and to a genuine one.

    A target is a path, or a method and a path (`PUT /star`).
    The genuine one goes to the reserved probe path, which never reaches the app; name only `targets` whose handler a
    refusal is proven to come before.
    """
    issued = await request("GET", REFRESH_PATH, headers={"accept": "application/json"})
    if issued.status_code != 200:
        raise refused(f"`{REFRESH_PATH}` answered {issued.status_code}", issued)
    token = str(json.loads(issued.text)["token"])
    cases: dict[str, tuple[dict[str, str], dict[str, str]]] = {
        "missing": ({"x": "1"}, {}),
        "tampered": ({policy.field: _tampered(token)}, {}),
        "foreign origin": ({policy.field: token}, {"origin": FOREIGN, "sec-fetch-site": "cross-site"}),
    }
    asked: list[ProbePost] = []
    for target in (PROBE_PATH, *targets):
        method, _, path = target.rpartition(" ")
        for name, (form, headers) in cases.items():
            answer = await request(method or "POST", path, data=form, headers=headers)
            asked.append(_asked(name, path, answer, _not_refused(answer), method or "POST"))
    genuine = await request("POST", PROBE_PATH, headers={policy.header: token})
    asked.append(_asked("genuine", PROBE_PATH, genuine, "" if genuine.status_code == 204 else "is refused"))
    return tuple(asked)


def _asked(case: str, path: str, answer: Response, problem: str, method: str = "POST") -> ProbePost:
    return ProbePost(case, path, answer.status_code, answer.headers.get("x-request-id", ""), problem, method)


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


async def probe(request: Request, policy: CsrfPolicy, origin: str) -> str:
    """The request id of a valid POST from `origin` that passed edge and middleware; DOD185 when it was refused.

    The path is reserved and never reaches the app, so nothing is changed.
    """
    issued = await request("GET", REFRESH_PATH, headers={"origin": origin, "accept": "application/json"})
    if issued.status_code != 200:
        raise refused(f"`{REFRESH_PATH}` answered {issued.status_code}", issued)
    sent = {"origin": origin, "accept": "application/json", policy.header: json.loads(issued.text)["token"]}
    answer = await request("POST", PROBE_PATH, headers=sent)
    if answer.status_code != 204:
        raise refused(f"a valid POST from `{origin}` to `{PROBE_PATH}` was answered {answer.status_code}", answer)
    return str(answer.headers.get("x-request-id", ""))


def refused(message: str, answer: Response) -> DodaiError:
    """DOD185 with the request id of the answer, to be raised."""
    request_id = str(answer.headers.get("x-request-id", ""))
    details = (f"request {request_id}: `{proposal.TRACE(request=request_id)}`",) if request_id else ()
    return DodaiError(codes.PROBE_REFUSED, message, codes.PROBE_REFUSED.fix.en, details=details)
