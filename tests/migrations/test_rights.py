"""The rights that the guide names are enough, and each of them is needed."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo
from tests.migrations.conftest import NO_TX, direct, up

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
