"""What a branch touches, from its diff: the facts behind `dodai checklist`."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from dodai.core import codes
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.fact import NotApplicable, Unknown
from dodai.core.finding import Finding
from dodai.core.rule import Rule, evaluate
from dodai.csrf.form_table import FormTable
from dodai.csrf.form_verdict import FormRow
from dodai.csrf.policy import CsrfPolicy, Exemption
from dodai.csrf.route_table import RouteRow, RouteTable
from dodai.migrations.check.facts import MigrationHistory, ShadowRun, ShadowTrial
from dodai.migrations.check.git import GitError, commit, git
from dodai.migrations.migration import Migration
from dodai.operations.collector import Gathering, facts_for
from dodai.operations.policy import Journey
from dodai.operations.project import Project


@dataclass(frozen=True, slots=True)
class CommitRehearsal:
    """What the last rehearsal on this machine came to, where it was of the commit that is checked out, unchanged.

    `walked` says whether every journey of the manifest went as it says; `drills` are (id, outcome).
    """

    started_at: str
    outcome: str
    walked: bool
    drills: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Touched:
    """Everything of the working tree that differs from where the branch left `base`.

    `findings` are those of the rules in the files that differ, `unknown` what could not be looked at, as
    (subject, reason, fix). An exemption or secret is `new` when the manifest of the base does not have it like this.
    """

    base: str
    fork: str
    files: tuple[str, ...]
    routes: tuple[RouteRow, ...] = ()
    forms: tuple[FormRow, ...] = ()
    exemptions: tuple[Exemption, ...] = ()
    outer: tuple[Exemption, ...] = ()
    removed_exemptions: tuple[str, ...] = ()
    migrations: tuple[tuple[Migration, ShadowTrial | None], ...] = ()
    secrets: tuple[str, ...] = ()
    journeys: tuple[Journey, ...] = ()
    rehearsal: CommitRehearsal | None = None
    findings: tuple[Finding, ...] = ()
    unknown: tuple[tuple[str, str, str], ...] = field(default=())


def touched(project: Project, gathering: Gathering, rules: Sequence[Rule], commit: str) -> Touched:
    """What the working tree, which is `commit`, touches against the base of what is gathered, as `rules` see it.

    DOD051 when there is no such base to compare with.
    """
    base = gathering.base
    fork, files = _changed(project, base)
    judged = [rule for rule in rules if rule.cost != "live"]
    facts = facts_for(judged, gathering)
    report = evaluate(judged, facts, today=gathering.today)
    before = CsrfPolicy.from_manifest(_manifest_at(project, fork).get("csrf") or {})
    now = CsrfPolicy.from_manifest(project.manifest.section("csrf") or {})
    routes = tuple(_routes(facts.get(RouteTable), files))
    return Touched(
        base=base,
        fork=fork,
        files=files,
        routes=routes,
        forms=tuple(row for row in _rows(facts.get(FormTable)) if row.path in files),
        exemptions=tuple(row for row in now.exemptions if row not in before.exemptions),
        outer=tuple(row for row in now.outer if row not in before.outer),
        removed_exemptions=tuple(
            row.route for row in before.exemptions if row.route not in {one.route for one in now.exemptions}
        ),
        migrations=tuple(_migrations(facts.get(MigrationHistory), facts.get(ShadowRun), files)),
        secrets=tuple(_secrets(project, fork)),
        journeys=tuple(_journeys(project, fork, routes)),
        rehearsal=_rehearsal(project, commit),
        findings=tuple(found for found in report.findings if found.place and found.place.path in files),
        unknown=tuple(dict.fromkeys((row.rule.code.area, row.reason, row.fix) for row in report.unknown)),
    )


def _changed(project: Project, base: str) -> tuple[str, tuple[str, ...]]:
    """(commit where the branch left the base, paths relative to the project that differ, untracked ones too)."""
    root = project.root
    fix = f"`git fetch origin {base.rpartition('/')[2]}` (GitHub Actions: `fetch-depth: 0`), or name another `--base`"
    if not commit(root, base):
        raise DodaiError(codes.UNKNOWN_WORD, f"the base `{base}` is not in this clone", fix)
    try:
        fork = git(root, "merge-base", base, "HEAD").decode().strip()
        listed = git(root, "diff", "--relative", "--name-only", "-z", fork)
        listed += git(root, "ls-files", "--others", "--exclude-standard", "-z")
    except GitError as error:
        raise DodaiError(codes.UNKNOWN_WORD, f"`{base}` and HEAD cannot be compared: {error}", fix) from None
    names = {name.decode("utf-8", "replace") for name in listed.split(b"\0") if name}
    return fork, tuple(sorted(names))


def _manifest_at(project: Project, ref: str) -> Mapping[str, Any]:
    """The manifest of another commit, as it is written there; empty when there was none that can be read."""
    try:
        return tomllib.loads(git(project.root, "show", f"{ref}:./{project.manifest.path}").decode())
    except (GitError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}


def _routes(table: RouteTable | Unknown | NotApplicable | None, files: tuple[str, ...]) -> Iterator[RouteRow]:
    if isinstance(table, RouteTable):
        yield from (row for row in table.state_changing if row.source in files)


def _rows(table: FormTable | Unknown | NotApplicable | None) -> tuple[FormRow, ...]:
    return table.rows if isinstance(table, FormTable) else ()


def _migrations(history: Any, run: Any, files: tuple[str, ...]) -> Iterator[tuple[Migration, ShadowTrial | None]]:
    tried = {trial.migration.id: trial for trial in run.trials} if isinstance(run, ShadowRun) else {}
    for one in history.migrations if isinstance(history, MigrationHistory) else ():
        if one.path in files or one.id in history.fresh:
            yield one, tried.get(one.id)


def _secrets(project: Project, fork: str) -> Iterator[str]:
    before = _manifest_at(project, fork).get("secret") or {}
    for name, row in (project.manifest.section("secret") or {}).items():
        written = before.get(name)
        if written is None or sorted(written.get("used_by") or ()) != sorted(row.get("used_by") or ()):
            yield name


def _journeys(project: Project, fork: str, routes: tuple[RouteRow, ...]) -> Iterator[Journey]:
    """Journeys that are new or edited, and those of which a step goes to a route that is touched."""
    before = {row.get("name"): row for row in _manifest_at(project, fork).get("journey") or ()}
    now = _manifest_now(project)
    paths = {row.path.partition("{")[0].partition("<")[0] for row in routes}
    for journey in project.policy.journeys:
        edited = before.get(journey.name) != now.get(journey.name)
        if edited or any(step.path.startswith(path) for step in journey.steps for path in paths if path != "/"):
            yield journey


def _rehearsal(project: Project, commit: str) -> CommitRehearsal | None:
    """None without one, and for one of another commit, of another web tier, or of files that were not committed."""
    try:
        report = json.loads((project.state / "rehearsals" / "latest" / "report.json").read_text("utf-8"))
        steps = {step["id"]: step["outcome"] for step in report["steps"]}
        drills = tuple((drill["id"], drill["outcome"]) for drill in report["drills"])
        found = CommitRehearsal(report["startedAt"], report["outcome"], steps.get("smoke") == "done", drills)
        rehearsed, tier = report["commit"], report["webTier"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if rehearsed and not tier and rehearsed == commit and rehearsed[-1] != "+" else None


def _manifest_now(project: Project) -> Mapping[str, Any]:
    written = tomllib.loads((project.root / project.manifest.path).read_text("utf-8-sig"))
    return {row.get("name"): row for row in written.get("journey") or ()}
