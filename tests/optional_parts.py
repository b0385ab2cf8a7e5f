"""Real parts that a user's machine may lack, and what a test report says about them.

`@pytest.mark.optional_part("goose")` skips a test, with the reason, where the part is absent. With
DODAI_TEST_REQUIRE_ALL=1 its absence is an error instead, unless tests/excused.toml names the part. tests/conftest.py
imports the hooks.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.junitxml import xml_key
from tests.plan.judge import commit_of

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Excuse:
    """A part that may be absent even in CI; `unproven` is what nobody has seen meanwhile."""

    name: str
    reason: str
    unproven: str


def excuses(document: str) -> tuple[Excuse, ...]:
    """The rows of excused.toml; raises `TypeError` for a row that says too little or too much."""
    return tuple(Excuse(**row) for row in tomllib.loads(document).get("part", ()))


def find(name: str) -> str:
    """Where the part is, or nothing: a command on the PATH, or what its own finder knows."""
    return FINDERS.get(name, lambda: shutil.which(name) or "")()


def verdict(name: str, *, where: str, require_all: bool, excused: tuple[Excuse, ...]) -> tuple[str, str]:
    """What becomes of a test that needs the part: `run`, `skip` or `error`, and why."""
    if where:
        return "run", ""
    excuse = next((each for each in excused if each.name == name), None)
    if excuse:
        return "skip", f"`{name}` is absent; excused: {excuse.reason}"
    if require_all:
        return "error", f"`{name}` is absent, DODAI_TEST_REQUIRE_ALL=1 and tests/excused.toml does not name it"
    return "skip", f"`{name}` is absent on this machine"


def _go_binary(name: str) -> Callable[[], str]:
    """`go install` puts commands where the PATH need not lead."""

    def look() -> str:
        folders = [os.environ.get("GOBIN"), *(f"{p}/bin" for p in os.environ.get("GOPATH", "").split(os.pathsep) if p)]
        folders.append(str(Path.home() / "go" / "bin"))
        path = os.pathsep.join(folder for folder in folders if folder)
        return shutil.which(name) or shutil.which(name, path=path) or ""

    return look


def _chromium() -> str:
    return next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
    )


def _debian_postgres() -> str:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return str(found[-1].parent) if found else ""


def _vendor_specs() -> str:
    from tests.support.vendor_spec import specs

    return str(specs() or "")


def _module(name: str) -> Callable[[], str]:
    def look() -> str:
        spec = importlib.util.find_spec(name)
        return (spec.origin or name) if spec else ""

    return look


FINDERS: Mapping[str, Callable[[], str]] = {
    "goose": _go_binary("goose"),
    "chromium": _chromium,
    "debian-postgres": _debian_postgres,
    "vendor-specs": _vendor_specs,
    "cloudflare-sdk": _module("cloudflare"),
    "authentik-sdk": _module("authentik_client"),
}


# --- hooks -------------------------------------------------------------------------------------------------------


def pytest_sessionstart(session: pytest.Session) -> None:
    """The JUnit report names the commit it is of, and what of the suite was asked for; `make plan` counts no other."""
    report = session.config.stash.get(xml_key, None)
    if report:
        report.add_global_property("commit", commit_of(HERE))
        report.add_global_property("paths", json.dumps(_paths(session.config)))
        report.add_global_property("narrowed", _narrowed(session.config))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A run that somebody stopped is none of the whole suite, whatever was green until then."""
    report = session.config.stash.get(xml_key, None)
    if report and exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        report.add_global_property("narrowed", f"a run that ended with {int(exitstatus)}")


def _paths(config: pytest.Config) -> list[str]:
    """The files, folders and tests that were named, as they stand in the rows of the plan."""
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        return []
    named = [argument.partition("::") for argument in config.args]
    return [
        os.path.relpath(config.invocation_params.dir / path, config.rootpath) + mark + rest
        for path, mark, rest in named
    ]


def _narrowed(config: pytest.Config) -> str:
    """The options of this run that leave out tests, as they are typed."""
    leaving = {
        "keyword": "-k",
        "markexpr": "-m",
        "deselect": "--deselect",
        "ignore": "--ignore",
        "maxfail": "--maxfail",
    }
    leaving |= {"lf": "--last-failed", "stepwise": "--stepwise", "ignore_glob": "--ignore-glob"}
    given = {name: config.getoption(name, None) for name in leaving}
    return " ".join(f"{leaving[name]} {value}" for name, value in given.items() if value)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("optional_part"):
        (name,) = mark.args
        require_all = os.environ.get("DODAI_TEST_REQUIRE_ALL") == "1"
        excused = excuses((HERE / "excused.toml").read_text("utf-8"))
        outcome, why = verdict(name, where=find(name), require_all=require_all, excused=excused)
        if outcome == "error":
            pytest.fail(why, pytrace=False)
        if outcome == "skip":
            pytest.skip(why)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # From the reports and not from a count of our own, which would stay behind in the workers of pytest-xdist.
    reasons = (str(report.longrepr) for report in terminalreporter.stats.get("skipped", ()))
    absences = Counter(found[1] for reason in reasons if (found := re.search(r"`([^`]+)` is absent", reason)))
    excused = excuses((HERE / "excused.toml").read_text("utf-8"))
    for name, count in sorted(absences.items()):
        unproven = next((f"; unproven: {each.unproven}" for each in excused if each.name == name), "")
        terminalreporter.write_line(f"absent: {name} ({count} tests skipped){unproven}")
    terminalreporter.write_line(f"excused parts: {len(excused)}, absent here: {len(absences)}")
