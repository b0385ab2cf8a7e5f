"""What a message tells people to do is said in the words of the format that their files have, and does what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import pytest
from tests.migrations.conftest import FAST, POLICY, run_check, write
from tests.support.command import git

from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.document import tool_decision
from dodai.migrations.format_words import WORDS
from dodai.migrations.policy import Format, MigrationsPolicy
from dodai.migrations.ports import MigrationTarget, Shadow, SqlConnection

Make = Callable[..., MigrationTarget]
FOLDER = "db/migrations"
ACCEPT = "-- dodai: accept DOD223 it is so\n"
ALONE = "REINDEX DATABASE;\n"
"""Refused within a transaction (25001), and not one of those that show by themselves that they need none."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a migration of a format is written, how it is marked as one without a transaction; `words` are those used."""

    layout: Format
    write: Callable[[str, str], Mapping[str, str]]
    mark: Callable[[str], Mapping[str, str]]
    words: str
    down: str


WAYS = (
    Way(
        "goose",
        lambda up, down: {"1_a.sql": f"-- +goose Up\n{up}" + (f"-- +goose Down\n{down}" if down else "")},
        lambda up: {"1_a.sql": f"-- +goose NO TRANSACTION\n-- +goose Up\n{up}"},
        "`-- +goose NO TRANSACTION`",
        "`-- +goose Down`",
    ),
    Way(
        "plain",
        lambda up, down: {"1_a.up.sql": up} | ({"1_a.down.sql": down} if down else {}),
        lambda up: {"1_a.up.sql": ACCEPT + up},
        "`-- dodai: accept DOD223 REASON`",
        "`….down.sql`",
    ),
    Way(
        "dbmate",
        lambda up, down: {"1_a.sql": f"-- migrate:up\n{up}" + (f"-- migrate:down\n{down}" if down else "")},
        lambda up: {"1_a.sql": f"-- migrate:up transaction:false\n{up}"},
        "`-- migrate:up transaction:false`",
        "`-- migrate:down`",
    ),
    Way(
        "diesel",
        lambda up, down: {"2023-01-02-030405_a/up.sql": up} | ({"2023-01-02-030405_a/down.sql": down} if down else {}),
        lambda up: {
            "2023-01-02-030405_a/up.sql": up,
            "2023-01-02-030405_a/metadata.toml": "run_in_transaction = false\n",
        },
        "`run_in_transaction = false`",
        "`down.sql`",
    ),
    Way(
        "prisma",
        lambda up, _: {"20230101000000_a/migration.sql": up},
        lambda up: {"20230101000000_a/migration.sql": ACCEPT + up},
        "`-- dodai: accept DOD223 REASON`",
        "write a line `-- dodai: irreversible",
    ),
    Way(
        "flyway",
        lambda up, down: {"V1__a.sql": up} | ({"U1__a.sql": down} if down else {}),
        lambda up: {"V1__a.sql": ACCEPT + up},
        "`-- dodai: accept DOD223 REASON`",
        "the `U` file",
    ),
)
each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.layout)


def of_the_format(way: Way, *texts: str) -> bool:
    """Whether no text has words of goose's where the files are not goose's."""
    return way.layout == "goose" or not any("goose" in text for text in texts)


def refused(act: Callable[[], object]) -> DodaiError:
    with pytest.raises(DodaiError) as caught:
        act()
    return caught.value


def test_every_format_has_words():
    """A format that is added needs them; those run by another tool have theirs beside its own tests."""
    assert set(WORDS) == set(get_args(Format)) == {way.layout for way in WAYS} | {"alembic", "django"}


@each_way
def test_a_file_that_ends_its_own_transaction(way: Way, make_target: Make, branch: Path, shadow: Shadow):
    """`up` and `check` say the same, and the file runs once it has the mark."""
    up = "CREATE TABLE a (b int);\nCOMMIT;\nCREATE TABLE c (d int);\n"
    policy = replace(FAST, format=way.layout)
    target = make_target(way.write(up, ""), policy)
    found = refused(lambda: run.up(target))
    report = run_check(branch, shadow, policy=replace(POLICY, format=way.layout, queries=()))
    (judged,) = (finding for finding in report.findings if finding.code.id == "DOD223")
    assert (found.code.id, judged.fix) == ("DOD223", found.fix)
    assert way.words in found.fix
    assert of_the_format(way, found.message, found.fix)
    assert run.up(make_target(way.mark(up), policy)).changed


@each_way
def test_a_statement_that_no_transaction_may_hold(way: Way, make_target: Make, branch: Path, shadow: Shadow):
    """The fix is carried out as it stands, and `check` does not call the mark unused then."""
    policy = replace(FAST, format=way.layout)
    found = refused(lambda: run.up(make_target(way.write(ALONE, ""), policy)))
    assert (found.code.id, found.data["sqlstate"]) == ("DOD280", "25001")
    assert way.words in found.fix
    assert of_the_format(way, found.message, found.fix)
    of_branch = replace(POLICY, format=way.layout, queries=())
    (judged,) = (f for f in run_check(branch, shadow, policy=of_branch).findings if f.code.id == "DOD208")
    assert judged.fix == found.fix
    assert run.up(make_target(way.mark(ALONE), policy)).changed
    assert not {"DOD208", "DOD223", "DOD227"} & {
        f.code.id for f in run_check(branch, shadow, policy=of_branch).findings
    }


@each_way
def test_indexes_and_ways_down(way: Way, branch: Path, shadow: Shadow):
    """What `check` proposes for them can be written into such a file."""
    first = "CREATE TABLE a (b int); CREATE INDEX i ON a (b);\n"
    write(branch, {f"{FOLDER}/{name}": text for name, text in way.write(first, "DROP TABLE a;\n").items()})
    git(branch, "checkout", "main")
    git(branch, "add", ".")
    git(branch, "commit", "-m", "first")
    git(branch, "checkout", "-b", "next")
    later = way.write("CREATE INDEX j ON a (b);\nDROP INDEX i;\n", "")
    one, two = ("1_", "2_") if way.layout in ("goose", "plain", "dbmate") else ("V1", "V2")
    names = {
        name: name.replace(one, two, 1).replace("2023-01", "2023-02").replace("20230101", "20230201") for name in later
    }
    write(branch, {f"{FOLDER}/{names[name]}": text for name, text in later.items()})
    report = run_check(branch, shadow, policy=replace(POLICY, format=way.layout, queries=()))
    fixes = {finding.code.id: finding.advice for finding in report.findings}
    assert set(fixes) == {"DOD211", "DOD214", "DOD229"}
    assert way.down in fixes["DOD211"]
    assert "CREATE INDEX CONCURRENTLY" in fixes["DOD214"]
    assert "DROP INDEX CONCURRENTLY" in fixes["DOD229"]
    assert of_the_format(way, *fixes.values(), *(finding.message for finding in report.findings))
    assert ("`-- dodai: accept" in way.words) != all(way.words in fixes[code] for code in ("DOD214", "DOD229"))


def test_a_repeatable_file_is_told_what_it_can_do(make_target: Make):
    """It has no mark at all: it is one transaction."""
    target = make_target({"R__a.sql": ALONE, "V1__a.sql": "SELECT 1;"}, replace(FAST, format="flyway"))
    assert "a migration with a version" in refused(lambda: run.up(target)).fix
    target = make_target({"R__a.sql": "SELECT 1; COMMIT; SELECT 2;"}, replace(FAST, format="flyway"))
    assert refused(lambda: run.up(target)).fix == "remove BEGIN and COMMIT"


@each_way
def test_a_statement_that_ends_the_transaction_unseen(way: Way, make_target: Make, conn: SqlConnection):
    """A procedure that commits is found when it has; the words are those of the format as well."""
    conn.execute("CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'")
    target = make_target(way.write("CALL p();\n", ""), replace(FAST, format=way.layout))
    found = refused(lambda: run.up(target, beside_tables=True))
    assert of_the_format(way, found.message, found.fix, *found.details)


@pytest.mark.parametrize("layout", [layout for layout in get_args(Format) if layout != "goose"])
def test_the_decision_of_another_format_does_not_say_that_goose_goes_on(layout: Format):
    """It cannot read those files."""
    assert "goose up" not in str(tool_decision(MigrationsPolicy(format=layout)))
