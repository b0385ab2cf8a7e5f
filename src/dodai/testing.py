"""A pytest plugin: `pytest -p dodai.testing --dodai-csrf` tests every state-changing route, with no test code of yours.

For each route of the project's services: a valid request reaches the handler (which is replaced, so nothing is
executed), one without token and one with a tampered token are refused with 403 and a request id. Nothing of dodai is
imported until the option or a fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dodai.csrf.route_table import RouteRow, RouteTable

CASES = ("valid", "missing", "tampered")
_TABLE = pytest.StashKey[Any]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dodai")
    group.addoption(
        "--dodai-csrf", action="store_true", help="test every state-changing route of dodai.toml against CSRF"
    )
    group.addoption(
        "--dodai-no-lifespan", action="store_true", help="list the routes without starting the lifespan of an ASGI app"
    )
    group.addoption(
        "--dodai-manifest", default="", metavar="FILE", help="the manifest, if it is not the nearest dodai.toml"
    )


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--dodai-csrf"):
        items.extend(_Routes.from_parent(session, name="dodai-csrf").collect())


@pytest.fixture(scope="session")
def dodai_routes(pytestconfig: pytest.Config) -> RouteTable:
    """The route table of the project, audited once for the whole run."""
    return _table(pytestconfig)


class _Routes(pytest.Collector):
    """The tests that need no file: one item for each route and case."""

    def collect(self) -> Iterator[pytest.Item]:
        try:
            table = _table(self.config)
        except Exception as error:  # noqa: BLE001 - a project that cannot be audited is one failing test, with the reason
            yield _Failed.from_parent(self, name="audit", reason=str(error))
            return
        for row in table.state_changing:
            for case in CASES if row.probes or row.verdict != "protected" else ("source",):
                yield _Case.from_parent(self, name=f"{row.id}[{case}]", row=row, case=case)
        for gap in table.gaps:
            yield _Failed.from_parent(self, name="audit", reason=f"not judged: {gap.reason}")
        if not table.state_changing and not table.gaps:
            yield _Failed.from_parent(self, name="audit", reason="no state-changing route: 0 of 0 proves nothing")


class _Failed(pytest.Item):
    def __init__(self, *, reason: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reason = reason

    def runtest(self) -> None:
        raise CsrfError(self.reason)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str:
        del style
        return str(excinfo.value)


class _Case(pytest.Item):
    """One route and one case; asserts one row of the audit that collection made."""

    def __init__(self, *, row: RouteRow, case: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.row = row
        self.case = case

    def runtest(self) -> None:
        row = self.row
        if row.verdict == "exempt":
            pytest.skip(f"exempt: {row.exemption}")
        if self.case == "source":
            return  # a web tier that is read and not asked; the audit has found the check in its source
        if not row.probes:
            raise CsrfError(f"{row.id} could not be probed: {row.evidence}")
        problem = wrong(row, self.case)
        if problem:
            raise CsrfError(f"{row.id} ({row.source}:{row.line}): {problem}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str:
        del style
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Path, int, str]:
        return Path(self.row.source), max(0, self.row.line - 1), self.name


class CsrfError(AssertionError):
    """A route that does not answer as it must."""


def wrong(row: RouteRow, case: str) -> str:
    """What is wrong with the answers to `case`; empty when they are as they must be."""
    if case == "valid":
        valid = [row.probes[name] for name in ("valid", "valid_header", "valid_both") if name in row.probes]
        passed = any(probe["reached"] for probe in valid) or row.verdict == "protected"
        return "" if valid and passed else f"a valid request does not reach the handler: {row.evidence}"
    # A WebSocket handshake has no body to carry a token: where it comes from is all there is to forge.
    probe = row.probes.get("cross_site" if row.method == "WEBSOCKET" else case)
    if probe is None:
        return f"the {case} case could not be tried: {row.evidence}"
    if probe["reached"]:
        return f"a request with a {case} token reached the handler"
    if probe["status"] not in (400, 403):
        return f"a request with a {case} token was answered {probe['status']}, not 403: {row.evidence}"
    if row.by == "dodai" and not probe["requestId"]:
        return "the refusal has no request id"
    # What the audit has seen beside the three cases counts as well: here stands what `dodai check` says.
    return "" if row.verdict == "protected" or case != "missing" else row.evidence


def _table(config: pytest.Config) -> RouteTable:
    if _TABLE not in config.stash:
        config.stash[_TABLE] = _audit(config)
    found = config.stash[_TABLE]
    if isinstance(found, Exception):
        raise found
    table: RouteTable = found
    return table


def _audit(config: pytest.Config) -> Any:
    from datetime import UTC, datetime

    from dodai.core.fact import NotApplicable, Unknown
    from dodai.csrf.route_table import RouteTable
    from dodai.wiring.checks import facts
    from dodai.wiring.find_project import find_project

    named = str(config.getoption("--dodai-manifest"))
    project = find_project(Path(named) if named else None)
    lifespan = not config.getoption("--dodai-no-lifespan")
    today = datetime.now(UTC).date()
    table = facts(project, today, lifespan=lifespan).fact(RouteTable)
    return CsrfError(table.reason) if isinstance(table, (Unknown, NotApplicable)) else table
