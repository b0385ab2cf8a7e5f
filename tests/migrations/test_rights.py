"""The rights that the guide names are enough, and each of them is needed."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo
from tests.migrations.conftest import FAST, NO_TX, direct, up

from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.enforce import question
from dodai.migrations.ports import MigrationTarget, SqlConnection
from dodai.migrations.run import belonging
from dodai.providers.postgres.cluster import Cluster
from dodai.providers.postgres.connection import connect

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "database.md").read_text(encoding="utf-8")
BLOCK = next(each for each in re.findall(r"```sql\n(.*?)```", GUIDE, re.DOTALL) if "quiz_viewer" in each)
GRANTS = [line.split(" --")[0] for line in BLOCK.splitlines() if line and not line.startswith("--")]
FIRST_RUN, LATER = (
    [line for line in each.splitlines() if line and not line.startswith("--")]
    for each in re.findall(r"```sql\n(.*?)```", GUIDE, re.DOTALL)
    if "ON SCHEMA ops" in each
)
FILES = {
    "1_a.sql": up("CREATE TABLE a (b int);", down=("DROP TABLE a;",)),
    "2_no.sql": up("CREATE INDEX CONCURRENTLY a_b ON a (b);", down=("DROP INDEX CONCURRENTLY a_b;",), head=NO_TX),
}


def grants(who: str) -> list[str]:
    return [each for each in GRANTS if who in each]


def refused(act: Callable[[], object]) -> DodaiError:
    with pytest.raises(DodaiError) as caught:
        act()
    return caught.value


@dataclass
class Roles:
    """A database whose owner is somebody else, and in which nobody may do anything that was not granted."""

    owner: SqlConnection
    target: MigrationTarget
    url: str
    names: dict[str, str]

    def grant(self, statements: list[str]) -> None:
        for each in statements:
            self.owner.execute(re.sub(r"quiz_\w+", lambda found: self.names[found[0]], each))

    def of(self, who: str) -> MigrationTarget:
        return replace(self.target, connect=lambda: direct(make_conninfo(self.url, user=self.names[who])))


@pytest.fixture
def roles(postgres: Cluster, database: str, make_target: Callable[..., MigrationTarget]) -> Iterator[Roles]:
    names = {who: f"{who}_{secrets.token_hex(4)}" for who in ("quiz_migrations", "quiz_services", "quiz_viewer")}
    with connect(database, autocommit=True) as owner:
        for name in names.values():
            owner.execute(f"CREATE ROLE {name} LOGIN")
        owner.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        yield Roles(owner, make_target(FILES), database, names)
        for name in names.values():
            owner.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


def test_the_rights_of_the_guide_are_enough(roles: Roles) -> None:
    """Up under a fencing token, down, up again, the mark of a protected environment; services and viewers read what they look at."""
    roles.grant(grants("quiz_migrations"))
    migrating = roles.of("quiz_migrations")
    assert len(run.up(migrating, token=1).ran) == 2
    run.down(migrating, count=2)
    assert len(run.up(migrating, token=2).ran) == 2
    belonging.mark(migrating, "production")
    roles.grant([*grants("quiz_services"), *grants("quiz_viewer")])
    assert run.status(roles.of("quiz_viewer")).applied == ("1", "2")
    with connect(make_conninfo(roles.url, user=roles.names["quiz_services"])) as conn:
        assert [row[0] for row in conn.execute(question(roles.target.policy)).fetchall()] == ["0", "1", "2"]


@pytest.mark.parametrize("left_out", GRANTS)
def test_each_right_of_the_guide_is_needed(roles: Roles, left_out: str) -> None:
    """Without it the same is refused, with the server's words and not with a traceback."""
    who = next(name for name in roles.names if name in left_out)
    kept = [each for each in grants(who) if each != left_out]
    if who == "quiz_migrations":
        roles.grant(kept)
        error = refused(lambda: run.up(roles.of(who)))
        assert (error.code.id, "permission denied" in str(error)) == ("DOD284", True)
        return
    run.up(roles.target)
    roles.grant(kept)
    if who == "quiz_viewer":
        assert refused(lambda: run.status(roles.of(who))).code.id == "DOD284"
        return
    with (
        connect(make_conninfo(roles.url, user=roles.names[who])) as conn,
        pytest.raises(Exception, match=r"permission denied|does not exist"),
    ):
        conn.execute(question(roles.target.policy))


OPS = replace(FAST, log_schema="ops")
"""A schema of somebody else's for what dodai keeps."""


@pytest.fixture
def ops(roles: Roles) -> MigrationTarget:
    """The role that migrates, with its rights beside those on the schema of the log."""
    roles.grant(["GRANT USAGE, CREATE ON SCHEMA public TO quiz_migrations"])
    return replace(roles.of("quiz_migrations"), policy=OPS)


def tables_of_the_owner(roles: Roles, target: MigrationTarget) -> None:
    """Two files are applied, and our tables belong to somebody else since."""
    roles.owner.execute("CREATE SCHEMA ops")
    roles.grant(FIRST_RUN)
    assert len(run.up(target, token=1).ran) == 2
    roles.grant(["REVOKE ALL ON SCHEMA ops FROM quiz_migrations"])
    for table in ("run", "log", "fence"):
        roles.owner.execute(f"ALTER TABLE ops.migration_{table} OWNER TO CURRENT_USER")


def test_the_rights_of_the_guide_are_enough_in_a_schema_of_somebody_else(roles: Roles, ops: MigrationTarget) -> None:
    """Also where the tables are there and belong to that other: then without `CREATE`."""
    tables_of_the_owner(roles, ops)
    roles.grant(LATER)
    run.down(ops, count=2)
    assert len(run.up(ops, token=2).ran) == 2
    assert run.status(ops).applied == ("1", "2")
    error = refused(lambda: belonging.mark(ops, "production"))
    roles.owner.execute(re.findall(r"`(COMMENT.*)`", error.fix)[0])
    assert belonging.owner(ops) == "production"


@pytest.mark.parametrize("left_out", LATER)
def test_each_right_on_tables_of_somebody_else_is_needed(roles: Roles, ops: MigrationTarget, left_out: str) -> None:
    """Without it the same is refused, with the server's words."""
    tables_of_the_owner(roles, ops)
    roles.grant([each for each in LATER if each != left_out])
    error = refused(lambda: run.down(ops))
    assert (error.code.id, "permission denied" in str(error)) == ("DOD284", True)


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("act", [run.up, lambda target: belonging.announce(target, 1)])
def test_a_right_that_is_missing_is_told_with_the_statement_that_grants_it(
    roles: Roles, ops: MigrationTarget, act: Callable[[MigrationTarget], object], *, there: bool
) -> None:
    """The schema is missing and may not be made, or is there and may not be used; what the message says helps."""
    if there:
        roles.owner.execute("CREATE SCHEMA ops")
    for _ in range(2):  # to look into it is one right, to make a table the next
        error = refused(lambda: act(ops))
        assert (error.code.id, "permission denied" in str(error)) == ("DOD284", True)
        roles.owner.execute(re.findall(r"`((?:GRANT|CREATE).*?)`", error.fix)[0])
        if not there:
            break
    act(ops)
    assert roles.owner.execute("SELECT to_regclass('goose_db_version') IS NULL").fetchone()[0] is (act is not run.up)
    assert len(run.up(ops).ran) == (0 if act is run.up else 2)


def test_a_log_that_may_not_be_looked_into_is_not_taken_for_none(roles: Roles) -> None:
    """Where the ledger has a history and another schema a log, it might be that one: nothing is said to be unknown."""
    run.up(roles.target)
    roles.grant(["GRANT USAGE ON SCHEMA public TO quiz_viewer", "GRANT SELECT ON goose_db_version TO quiz_viewer"])
    viewer = replace(roles.of("quiz_viewer"), policy=OPS)
    error = refused(lambda: run.status(viewer))
    assert (error.code.id, "cannot be seen" in str(error)) == ("DOD269", True)
    roles.owner.execute(re.findall(r"`(GRANT.*?)`", error.fix)[0])
    assert "ALTER TABLE" in refused(lambda: run.status(viewer)).fix
