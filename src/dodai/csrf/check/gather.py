"""The facts that the rules judge: routes from the agent, forms from the templates."""

from __future__ import annotations

import base64
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dodai.agent.call import AgentError, ask
from dodai.core.fact import NotApplicable, Unknown
from dodai.csrf.check.web_tier import SKIPPED, unaudited, web_tier
from dodai.csrf.form_table import FormTable, scan_templates
from dodai.csrf.policy import REFRESH_PATH, CsrfPolicy
from dodai.csrf.route_table import RouteTable, build_table
from dodai.csrf.token import encode_nonce, issue, new_nonce, parse_key_ring

AUDIT_ORIGIN = "https://dodai-audit.invalid"
"""The public origin of the app while it is audited; a reserved name (RFC 6761), so it is nobody's."""

_TEMPLATE_BYTES = 1_000_000


def gather_routes(
    manifest: Mapping[str, Any],
    *,
    root: Path,
    python: str,
    today: str,
    manifest_path: Path | None = None,
    timeout_s: float = 60.0,
) -> RouteTable | Unknown | NotApplicable:
    """The routes of every service with an `app`, audited in the interpreter `python`; `manifest` is validated data.

    Keys and origin of the audit are made for it and thrown away. `Unknown` says why an app could not be listed; when
    others could, it is one of the table's `gaps`.
    """
    services = [(name, row) for name, row in (manifest.get("service") or {}).items() if row.get("app")]
    gaps = list(unaudited(manifest, root))
    if not services and not gaps:
        return web_tier(root)
    tables: list[RouteTable] = []
    for name, service in services:
        environ = _environ(manifest, name, manifest_path or root / "dodai.toml")
        table = audit_app(
            str(service["app"]),
            root=root,
            cwd=root / str(service.get("cwd") or "."),
            python=python,
            environ=environ,
            policy=CsrfPolicy.from_manifest(manifest.get("csrf") or {}),
            service=name,
            today=today,
            timeout_s=timeout_s,
        )
        if isinstance(table, Unknown):
            gaps.append(table)
        else:
            tables.append(table)
    if not tables:
        fix = next((gap.fix for gap in gaps if gap.fix), "")
        return Unknown("; ".join(gap.reason for gap in gaps), fix, all(gap.by_manifest for gap in gaps))
    return _joined(tables, tuple(gaps))


def audit_app(
    app: str,
    *,
    root: Path,
    cwd: Path,
    python: str,
    environ: Mapping[str, str],
    policy: CsrfPolicy,
    service: str,
    today: str,
    timeout_s: float = 60.0,
) -> RouteTable | Unknown:
    """The table of one application, or `Unknown` with the place where importing it failed."""
    environ, expired = _with_keys(environ, policy)
    request = {
        "app": app,
        "path": [str(cwd), str(root)],
        "cwd": str(cwd),
        "origin": AUDIT_ORIGIN,
        "field": policy.field,
        "header": policy.header,
        "refresh": REFRESH_PATH,
        "signIn": policy.sign_in,
        "expired": expired,
    }
    try:
        answer = ask(request, python=python, environ=environ, timeout_s=timeout_s)
    except AgentError as error:
        return Unknown(f"`{app}` could not be audited: {error}", error.tail.rpartition("\n")[2])
    if "error" in answer:
        return _failed(app, answer["error"], root)
    return build_table(answer, policy=policy, service=service, root=str(root), today=today)


def gather_forms(manifest: Mapping[str, Any], *, root: Path) -> FormTable | Unknown | NotApplicable:
    """The forms of the templates that `[csrf] templates` names, read as text."""
    policy = CsrfPolicy.from_manifest(manifest.get("csrf") or {})
    texts = dict(_templates(root, policy.templates))
    if texts:
        return scan_templates(texts, policy)
    if policy.templates != CsrfPolicy().templates:
        return Unknown("no file matches `[csrf] templates`", "correct the patterns", by_manifest=True)
    return NotApplicable("no file matches the patterns that `[csrf] templates` has by default")


def glob_to_regex(pattern: str) -> re.Pattern[str]:
    """A pattern of `/`-separated parts as a regular expression: `**` is any number of folders, `*` part of a name."""
    wild = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(wild.get(part, re.escape(part)) for part in parts))


def _templates(root: Path, patterns: Iterable[str]) -> Iterator[tuple[str, str]]:
    wanted = [glob_to_regex(pattern) for pattern in patterns]
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in SKIPPED and not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            shown = path.relative_to(root).as_posix()
            if any(pattern.fullmatch(shown) for pattern in wanted) and path.stat().st_size <= _TEMPLATE_BYTES:
                yield shown, path.read_text("utf-8", "replace")


def _environ(manifest: Mapping[str, Any], service: str, path: Path) -> dict[str, str]:
    declared = (manifest.get("check") or {}).get("environment") or {}
    known = {str(name): str(value) for name, value in declared.items()}
    own = {"DODAI_ENV": "local", "DODAI_SERVICE": service}
    return {**own, **({"DODAI_MANIFEST": str(path)} if path.exists() else {}), **known}


def _with_keys(environ: Mapping[str, str], policy: CsrfPolicy) -> tuple[dict[str, str], dict[str, str]]:
    """(environment with throw-away keys, an expired token and its cookie made with them)."""
    secret = base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()
    keys = f"aud1:{secret}"
    nonce = new_nonce(os.urandom(16), signed_in=False, now_s=int(time.time()))
    then = int(time.time() - policy.max_age_s) - 3600
    token = issue(parse_key_ring(keys), nonce=nonce, now_s=then, random=os.urandom(16))
    own = {"DODAI_CSRF_KEYS": keys, "DODAI_PUBLIC_ORIGINS": AUDIT_ORIGIN}
    own |= {name: keys for name in ("DODAI_IDENTITY_KEYS",) if name not in environ}
    return {**environ, **own}, {"token": token, "cookie": f"__Host-dodai-csrf={encode_nonce(nonce)}"}


def _failed(app: str, error: Mapping[str, Any], root: Path) -> Unknown:
    place = str(error.get("file") or "").removeprefix(str(root) + "/")
    at = f" at `{place}:{error['line']}`" if place else ""
    reason = f"importing `{app}` failed with {error['type']}: {error['message']}{at}"
    if error.get("module"):
        return Unknown(reason, f"install `{error['module']}` where `[project] python` points, or correct the import")
    if error["type"] == "KeyError":
        return Unknown(reason, "set the variable in `[check.environment]`")
    return Unknown(reason, "make the import work on a developer's machine; `[check.environment]` sets variables for it")


def _joined(tables: list[RouteTable], gaps: tuple[Unknown, ...]) -> RouteTable:
    first = tables[0]
    return RouteTable(
        service=", ".join(table.service for table in tables),
        framework=", ".join(dict.fromkeys(table.framework for table in tables)),
        rows=tuple(row for table in tables for row in table.rows),
        today=first.today,
        session=next((table.session for table in tables if table.session), None),
        binding="; ".join(dict.fromkeys(table.binding for table in tables if table.binding)),
        gaps=gaps,
    )
