"""Hostile posts to the actions of the server build, and what is to be concluded from the answers."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.fact import Unknown
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.token import encode_nonce, issue, new_nonce, parse_key_ring
from dodai.providers.remix.node_program import NodeProgram

HOSTILE = ("missing", "tampered", "cross_site", "text_plain", "null_origin", "data_request")
_ELSEWHERE = ("cross_site", "text_plain", "null_origin")
_HOSTILE_BY_MODE = {"either": _ELSEWHERE, "header": _ELSEWHERE, "framework": _ELSEWHERE}
"""In these modes a post of a page of ours needs no token of dodai."""
_NAMES = {"cross_site": "cross-site", "text_plain": "text/plain", "null_origin": "null-origin", "data_request": "data"}
_PROGRAM = Path(__file__).with_name("ask_build.mjs")
_ANSWER_MS = 5000
_SOURCES = re.compile(r"\.(?:tsx?|jsx?|mjs|mts)$")
_BUILD = "build it (`npm run build`)"
_FIRST_ERROR, _FIRST_REDIRECT = 400, 300


@dataclass(frozen=True, slots=True)
class BuildAnswers:
    """What an action of the build answered: as it is served, and called by itself; empty when it was not asked."""

    id: str
    path: str
    served: Mapping[str, Mapping[str, Any]]
    alone: Mapping[str, Mapping[str, Any]]

    @property
    def reached(self) -> tuple[str, ...]:
        """The hostile posts that the action answered as if nothing were wrong."""
        return tuple(name for name in HOSTILE if name in self.served and _is_answered(self.served[name]))

    @property
    def passed(self) -> str:
        """The hostile post that got into the action and was not refused, in words; empty for none.

        Also one that was sent to sign in: whoever is signed in would have got further.
        """
        for name in HOSTILE:
            answer = self.served.get(name)
            if answer is not None and answer["entered"] and not _is_refused(name, answer):
                said = f"a {_NAMES.get(name, name)} post got into the action of the build"
                return f"{said} and was answered {_shown(answer)}"
        return ""

    @property
    def refused(self) -> bool:
        """Whether every hostile post was refused with a code, and the post of a page of ours got to the action."""
        return bool(self.served) and not self.doubt

    @property
    def doubt(self) -> str:
        """Why the answers prove nothing; empty when they do."""
        for name in HOSTILE:
            answer = self.served.get(name)
            if answer is not None and not _is_refused(name, answer):
                return f"a {_NAMES.get(name, name)} post was answered {_shown(answer)}"
        valid = self.served.get("valid", {})
        if valid.get("code"):
            return f"the post of a page of ours was refused as well ({valid['code']})"
        if self.served and not valid.get("entered"):
            return f"the post of a page of ours did not get to it: {_shown(valid)}"
        return ""

    @property
    def asks_itself(self) -> bool:
        """Whether the action refuses without what stands in front of it."""
        return bool(self.alone) and all(_is_code(answer) for answer in self.alone.values())


def ask_build(
    node: NodeProgram, app: Path, policy: CsrfPolicy, *, keys: str, origin: str
) -> tuple[BuildAnswers, ...] | Unknown:
    """Every action of the build in the tier's folder; `Unknown` when there is none, or one that cannot be asked."""
    framework, build = _build_of(node.folder)
    if not build.is_file():
        return Unknown(f"there is no `{build.relative_to(node.folder)}`", _BUILD)
    newer = _newer(app, build)
    if newer is not None:
        return Unknown(f"`{build.relative_to(node.folder)}` is older than `{newer.relative_to(node.folder)}`", _BUILD)
    flag = node.closed_flag()
    if isinstance(flag, Unknown):
        return flag
    mark = f"dodai-{secrets.token_hex(16)}:"
    now_s, nonce = int(time.time()), new_nonce(os.urandom(16), signed_in=False, now_s=int(time.time()))
    request = {
        "framework": framework,
        "build": str(build),
        "mark": mark,
        "origin": origin,
        "field": policy.field,
        "token": issue(parse_key_ring(keys), nonce=nonce, now_s=now_s, random=os.urandom(16)),
        "cookie": f"__Host-dodai-csrf={encode_nonce(nonce)}",
        "skipped": [row.route.partition(" ")[2] for row in policy.exemptions if row.when == "always"],
        "timeoutMs": _ANSWER_MS,
    }
    argv = [flag, "--allow-fs-read=*", "--no-warnings", "--input-type=module", "--eval", _PROGRAM.read_text("utf-8")]
    printed = node.run(argv, json.dumps(request))
    if isinstance(printed, Unknown):
        fix = printed.fix or "`[check.environment]` sets variables that the build needs to start"
        return Unknown(f"the build could not be asked: {printed.reason}", fix)
    line = next((line for line in printed.splitlines() if line.startswith(mark)), "")
    if not line:
        return Unknown("the build ended the process before it was asked", "let the build start without ending itself")
    wanted = (*_HOSTILE_BY_MODE.get(policy.mode, HOSTILE), "valid")
    return tuple(_asked(one, wanted) for one in json.loads(line.removeprefix(mark)))


def _asked(one: Mapping[str, Any], wanted: Sequence[str]) -> BuildAnswers:
    answers = ({name: row for name, row in one[how].items() if name in wanted} for how in ("served", "alone"))
    return BuildAnswers(one["id"], one["path"], *answers)


def _build_of(folder: Path) -> tuple[str, Path]:
    """(package of the framework, file of the server build), by the configuration or the framework's default."""
    router = "".join(_text(folder / name) for name in ("react-router.config.ts", "react-router.config.js"))
    classic = _text(folder / "remix.config.js")
    path = re.search(r"serverBuildPath\s*:\s*[\"']([^\"']+)[\"']", classic)
    framework = "react-router" if '"@react-router/' in _text(folder / "package.json") else "@remix-run/node"
    if classic:
        return framework, folder / (path[1] if path else "build/index.js")
    written = router or "".join(_text(folder / name) for name in ("vite.config.ts", "vite.config.js"))
    where = re.search(r"buildDirectory\s*:\s*[\"']([^\"']+)[\"']", written)
    name = re.search(r"serverBuildFile\s*:\s*[\"']([^\"']+)[\"']", written)
    return framework, folder / (where[1] if where else "build") / "server" / (name[1] if name else "index.js")


def _newer(app: Path, build: Path) -> Path | None:
    """A module of the application that was written after the build."""
    built = build.stat().st_mtime_ns
    paths: Iterable[Path] = (path for path in app.rglob("*") if _SOURCES.search(path.name) and path.is_file())
    return next((path for path in sorted(paths) if path.stat().st_mtime_ns > built), None)


def _is_code(answer: Mapping[str, Any]) -> bool:
    return str(answer["code"]).startswith("DOD15")


def _is_refused(name: str, answer: Mapping[str, Any]) -> bool:
    """By dodai with its code; what comes from elsewhere also by the framework's own check, in front of the action."""
    by_framework = name in _ELSEWHERE and not answer["entered"] and answer["status"] >= _FIRST_ERROR
    return _is_code(answer) or bool(by_framework)


def _is_answered(answer: Mapping[str, Any]) -> bool:
    return bool(answer["entered"]) and 0 < answer["status"] < _FIRST_REDIRECT


def _shown(answer: Mapping[str, Any]) -> str:
    where = f" to `{answer['location']}`" if answer.get("location") else ""
    tried = f" after it tried to {answer['effects'][0]}" if answer.get("effects") else ""
    return f"{answer.get('status') or answer.get('error') or 'nothing'}{where}{tried}"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
