"""The facts that the rules judge: routes from the agent, forms from the templates."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dodai.agent.call import Agent, AgentError, ask
from dodai.core import proposal
from dodai.core.fact import NotApplicable, Unknown
from dodai.csrf.check.web_tier import SKIPPED, RouteSource, readable, served_otherwise, unaudited, web_tier
from dodai.csrf.form_page import PageText
from dodai.csrf.form_table import FormTable, build_forms
from dodai.csrf.form_verdict import FormSurroundings, TokenCheck
from dodai.csrf.policy import REFRESH_PATH, CsrfPolicy, told
from dodai.csrf.route_table import RouteTable, TierFlaws, build_table
from dodai.csrf.token import encode_nonce, issue, new_nonce, parse_key_ring

AUDIT_ORIGIN = "https://dodai-audit.invalid"
"""The public origin of the app while it is audited; a reserved name (RFC 6761), so it is nobody's."""

_CANNOT_START = (
    f"run `{proposal.DOCTOR()}`: `[project] python` has to start, and the app to stay alive while it is imported"
)
_SCRIPT_BYTES = 1_000_000


def gather_routes(
    manifest: Mapping[str, Any],
    *,
    root: Path,
    python: str,
    today: str,
    manifest_path: Path | None = None,
    source: RouteSource | None = None,
    ready: Mapping[str, str] | None = None,
    lifespan: bool = True,
) -> RouteTable | Unknown | NotApplicable:
    """The routes of every service with an `app`, audited in the interpreter `python`; `manifest` is validated data.

    Keys and origin of the audit are made for it and thrown away. Web tiers that `source` reads are in the table as
    well. `Unknown` says why an app could not be listed; when others could, it is one of the table's `gaps`.
    `ready` are the paths that services are asked for whether they are ready. No lifespan is started without `lifespan`.
    """
    services = [(name, row) for name, row in (manifest.get("service") or {}).items() if row.get("app")]
    gaps = [*unaudited(manifest, root, source), *served_otherwise(manifest)]
    policy = CsrfPolicy.from_manifest(manifest.get("csrf") or {})
    policy = replace(policy, lifespan=policy.lifespan and lifespan)
    tiers = readable(manifest, root, source)
    if not services and not gaps and not tiers:
        alone = web_tier(root, source)
        if not isinstance(alone, Path):
            return alone
        tiers = ((alone.name, alone),)
    tables: list[RouteTable] = []
    reading = _read_tiers(manifest, tiers, source, policy, root=root, today=today, manifest_path=manifest_path)
    named = manifest.get("service") or {}
    for name, service in services:
        environ = _environ(manifest, name, manifest_path or root / "dodai.toml")
        table = audit_app(
            str(service["app"]),
            root=root,
            cwd=root / str(service.get("cwd") or "."),
            python=python,
            environ=environ,
            policy=policy.of_service(name, named),
            service=name,
            today=today,
            ready=(ready or {}).get(name, ""),
        )
        _sort(table, tables, gaps, name)
    for name, found in reading:
        _sort(found.result(), tables, gaps, name)
    if not tables:
        fix = next((gap.fix for gap in gaps if gap.fix), "")
        return Unknown("; ".join(gap.reason for gap in gaps), fix, all(gap.by_manifest for gap in gaps))
    return _joined(tables, tuple(gaps))


def _read_tiers(
    manifest: Mapping[str, Any],
    tiers: Iterable[tuple[str, Path]],
    source: RouteSource | None,
    policy: CsrfPolicy,
    *,
    root: Path,
    today: str,
    manifest_path: Path | None,
) -> list[tuple[str, Future[RouteTable | Unknown]]]:
    """(service, table) of the tiers that `source` reads, begun beside the applications: both wait for programs."""
    if source is None:
        return []
    beside = ThreadPoolExecutor(max_workers=4)
    begun = []
    for name, folder in tiers:
        client = (manifest.get("client") or {}).get(name) or {}
        service = str(client.get("service") or name)
        environ = _environ(manifest, service, manifest_path or root / "dodai.toml")
        given, _ = _with_keys({**environ, "DODAI_SETTINGS": _settings(manifest, service)}, policy)
        read = partial(source.routes, folder, root=root, service=name)
        own = policy.of_service(service, manifest.get("service") or {})
        begun.append((service, beside.submit(read, policy=own, today=today, environ=given)))
    beside.shutdown(wait=False)
    return begun


def _sort(found: RouteTable | Unknown, tables: list[RouteTable], gaps: list[Unknown], service: str) -> None:
    if isinstance(found, Unknown):
        gaps.append(found)
    else:
        tables.append(replace(found, rows=tuple(replace(row, service=service) for row in found.rows)))
        gaps.extend(found.gaps)


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
    ready: str = "",
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
        "ready": ready,
        "examples": dict(policy.examples),
        "lifespan": policy.lifespan,
        "timeout": policy.audit_timeout_s,
        "exempt": [row.route for row in policy.exemptions],
    }
    try:
        answer = ask(request, python=python, environ=environ, timeout_s=policy.audit_timeout_s)
    except AgentError as error:
        said = error.tail.rpartition("\n")[2]
        slow = f"no answer within {policy.audit_timeout_s:g} s" in str(error)
        fix = "raise `[csrf] audit_timeout`, or make the import start less" if slow else _CANNOT_START
        return Unknown(
            f"`{app}` could not be audited: {error}" + (f" (it last said: {said[:200]})" if said else ""), fix
        )
    if "error" in answer:
        return _failed(app, answer["error"], root)
    return build_table(answer, policy=policy, service=service, root=str(root), today=today)


def gather_forms(
    manifest: Mapping[str, Any],
    *,
    root: Path,
    python: str,
    source: RouteSource | None = None,
    routes: RouteTable | None = None,
) -> FormTable | Unknown | NotApplicable:
    """The forms of the templates that `[csrf] templates` names, and of the tiers that `source` reads.

    Where `routes` says whose check refuses requests, a form has to carry the token of that one.
    """
    policy = CsrfPolicy.from_manifest(manifest.get("csrf") or {})
    paths = list(_templates(root, policy.templates))
    checks = token_checks(routes, policy) if routes is not None else ()
    found = [_template_forms(paths, policy, root=root, python=python, checks=checks)] if paths else []
    if source is not None:
        folders = [folder for _, folder in readable(manifest, root, source)]
        alone = None if manifest.get("service") or folders else web_tier(root, source)
        folders += [alone] if isinstance(alone, Path) else []
        found += [source.forms(folder, root=root, policy=policy) for folder in folders]
    if not found:
        if policy.templates != CsrfPolicy().templates:
            return Unknown("no file matches `[csrf] templates`", "correct the patterns", by_manifest=True)
        return NotApplicable("no file matches the patterns that `[csrf] templates` has by default")
    unread = next((table for table in found if isinstance(table, Unknown)), None)
    return unread or _all_forms([table for table in found if isinstance(table, FormTable)])


def token_checks(table: RouteTable, policy: CsrfPolicy) -> tuple[TokenCheck, ...]:
    """The checks that refused requests to every protected route; empty when routes differ or names are not known."""
    plain = [
        row for row in table.state_changing if not row.exempt_by
    ]  # views that the framework's own check leaves out
    refusers = {(row.by, row.second) for row in plain if row.verdict == "protected"}
    if len(refusers) != 1 or policy.mode in ("either", "header"):
        return ()
    names = [name for name in refusers.pop() if name]
    native = table.native or {}
    if any(name != "dodai" for name in names) and not native:
        return ()
    own = TokenCheck("dodai", policy.field, policy.header)
    return tuple(own if name == "dodai" else TokenCheck(name, native["field"], native["header"]) for name in names)


def _template_forms(
    paths: list[str], policy: CsrfPolicy, *, root: Path, python: str, checks: tuple[TokenCheck, ...] = ()
) -> FormTable | Unknown:
    """The forms of templates, expanded in the interpreter `python`.

    Its template engine reads them, and nothing is rendered. What could not be read is one of the table's `gaps`.
    """
    request = {
        "templates": paths,
        "root": str(root),
        "field": policy.field,
        "header": policy.header,
        "script": f"{REFRESH_PATH}?script",
        "helpers": policy.template_helpers,
    }
    timeout_s = policy.audit_timeout_s
    deadline = time.monotonic() + timeout_s
    pages: list[PageText] = []
    try:
        with Agent(python, {}) as agent:
            answer = agent.ask(request, timeout_s=timeout_s)
            for number in range(len(answer.get("pages", ()))):
                expanded = agent.ask({"page": number}, timeout_s=max(0.1, deadline - time.monotonic()))
                pages.append(PageText.of(expanded["page"]))
    except AgentError as error:
        said = f"the templates could not be read: {error}"
        return Unknown(said, "raise `[csrf] audit_timeout`, or name fewer files in `[csrf] templates`")
    if "error" in answer:
        return Unknown(f"the templates could not be read: {answer['error']['message']}")
    scripts = {path.rpartition("/")[2]: _text(root / path) for path in paths if path.endswith((".js", ".mjs"))}
    native = bool({"django", "flask_wtf"} & set(answer["engines"]))
    around = FormSurroundings(
        frozenset({"x-csrftoken"} if native else ()),
        frozenset({"csrfmiddlewaretoken"} if "django" in answer["engines"] else ()),
        scripts,
        checks,
    )
    gaps = _unread(answer["problems"])
    return build_forms(pages, policy, around=around, templates=len(paths), gaps=gaps)


def _unread(problems: list[tuple[str, str]]) -> tuple[Unknown, ...]:
    if not problems:
        return ()
    path, why = problems[0]
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    fix = "correct it, or leave it out of `[csrf] templates`"
    return (Unknown(f"template `{path}` is not judged: {why}{more}", fix),)


def _text(path: Path) -> str:
    return path.read_text("utf-8", "replace") if path.stat().st_size <= _SCRIPT_BYTES else ""


def _all_forms(tables: Sequence[FormTable]) -> FormTable:
    return FormTable(
        tuple(row for table in tables for row in table.rows),
        tuple(flaw for table in tables for flaw in table.flaws),
        sum(table.templates for table in tables),
        tuple(gap for table in tables for gap in table.gaps),
    )


def glob_to_regex(pattern: str) -> re.Pattern[str]:
    """A pattern of `/`-separated parts as a regular expression: `**` is any number of folders, `*` part of a name."""
    wild = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(wild.get(part, re.escape(part)) for part in parts))


def _templates(root: Path, patterns: Iterable[str]) -> Iterator[str]:
    wanted = [glob_to_regex(pattern) for pattern in patterns]
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in SKIPPED and not name.startswith("."))
        for name in sorted(files):
            shown = Path(folder, name).relative_to(root).as_posix()
            if any(pattern.fullmatch(shown) for pattern in wanted):
                yield shown


def _environ(manifest: Mapping[str, Any], service: str, path: Path) -> dict[str, str]:
    check = manifest.get("check") or {}
    known = {str(name): str(value) for name, value in (check.get("environment") or {}).items()}
    known |= {name: os.environ[name] for name in check.get("inherit") or () if name in os.environ}
    own = {"DODAI_ENV": "local", "DODAI_SERVICE": service}
    return {**own, **({"DODAI_MANIFEST": str(path)} if path.exists() else {}), **known}


def _settings(manifest: Mapping[str, Any], service: str) -> str:
    """What a tier that is not Python gets of the manifest."""
    section = told(manifest.get("csrf") or {}, service, manifest.get("service") or {})
    return json.dumps({"csrf": section}, sort_keys=True)


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
    found = [table.flaws for table in tables if table.flaws is not None]
    return RouteTable(
        service=", ".join(table.service for table in tables),
        framework=", ".join(dict.fromkeys(table.framework for table in tables)),
        rows=tuple(row for table in tables for row in table.rows),
        today=first.today,
        session=next((table.session for table in tables if table.session), None),
        native=next((table.native for table in tables if table.native), None),
        binding="; ".join(dict.fromkeys(table.binding for table in tables if table.binding)),
        gaps=gaps,
        requests=sum(table.requests for table in tables),
        ready={name: answer for table in tables for name, answer in table.ready.items()},
        flaws=TierFlaws(tuple(row for flaws in found for row in flaws.rows)) if found else None,
        tiers=tuple(tier for table in tables for tier in table.tiers),
    )
