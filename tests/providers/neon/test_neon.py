"""The Neon driver against the stand-in, whose branches are PostgreSQL servers: restore points, copies, and bad days."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.quick_vendor import SkippedWaits, quick
from tests.support.vendor_spec import Spec

from dodai.core.errors import DodaiError
from dodai.migrations import fence
from dodai.providers.neon import neon_branches
from dodai.providers.neon.neon_api import neon
from dodai.providers.neon.neon_branches import NeonBranches
from dodai.providers.neon.neon_database import BranchCopies, NeonDatabase, verified
from dodai.providers.postgres.connection import connect
from dodai.standins import ApiFault
from dodai.standins.neon_standin import NeonStandIn
from dodai.vendor_api import Api, ApiToken
from dodai.wiring.neon_provider import PostgresBehind

CANARY = "napi_c4n4ry"
SPEC = Spec("neon-v2.json", "https://console.neon.tech")


@pytest.fixture(scope="module")
def standin():
    """One project for all tests; each gets `main` back as it was."""
    with NeonStandIn({CANARY: frozenset({"*"}), "reader": frozenset(), f"{CANARY}-old": frozenset()}) as standin:
        yield standin


@pytest.fixture
def project(standin, monkeypatch):
    monkeypatch.setattr(standin, "most_branches", 10)
    yield standin
    standin.faults.clear()
    standin.fail.clear()
    standin.work_s, standin.settings = 0.0, {}
    main = standin.named("main")
    main.disabled, main.parent_id = False, ""
    for branch in [branch for branch in standin.branches.values() if branch is not main]:
        del standin.branches[branch.id]
        branch.server.discard()


def driver(standin, token=CANARY, waits=None, **changes):
    options = {"clock": waits.clock, "pause": waits.pause} if waits else {}
    api = Api(quick(neon()), standin.url, ApiToken("NEON_API_KEY", token), **options)
    branches = NeonBranches(lambda: api, standin.project, poll_s=0.02, settle_s=20)
    found = NeonDatabase(branches, "main", "quiz", "quiz_owner", PostgresBehind())
    return dataclasses.replace(found, **changes)


@pytest.fixture
def database(project):
    database = driver(project)
    run(
        database.url(),
        "DROP SCHEMA IF EXISTS dodai CASCADE",
        "DROP TABLE IF EXISTS note",
        "CREATE TABLE note (id int)",
        "INSERT INTO note VALUES (1)",
    )
    with closing(database.branches.api):
        yield database


def run(url, *statements):
    with connect(url, autocommit=True) as session:
        return [cursor.fetchall() if cursor.description else [] for cursor in map(session.execute, statements)]


def notes(database):
    return sorted(run(database.url(), "SELECT id FROM note")[0])


def test_database_answers_at_a_direct_and_a_pooled_address(database):
    """Both lead to the same rows; what Neon says about the branch is on record, and who gets in is said."""
    assert asyncio.run(database.running()) == f"127.0.0.1:{database.url().rpartition(':')[2].partition('/')[0]}"
    assert run(database.url(direct=False), "SELECT id FROM note") == [[(1,)]]
    seen = database.inspect()
    assert seen.size_bytes > 0
    assert seen.free_bytes is None
    assert len(seen.remarks) == 2
    assert "no IP allow list" in seen.remarks[1]
    assert abs(asyncio.run(database.clock_offset_s())) < 10


@pytest.mark.optional_part("pgbouncer")
def test_pooled_address_goes_through_a_real_pooler(database):
    """PgBouncer in transaction mode, as at Neon: another port than the direct one."""
    assert database.url(direct=False) != database.url()
    with connect(database.url(direct=False), autocommit=True, dbname="quiz") as session:
        assert session.execute("SELECT id FROM note").fetchall() == [(1,)]


def test_pooler_as_direct_address_is_refused(database):
    """Locks and migrations would be on a session that somebody else gets next."""
    main = database.branches.named("main")
    database._known[main.id, True] = "postgresql://a:b@ep-quiet-pooler.ap-southeast-1.aws.neon.tech/quiz"
    with pytest.raises(DodaiError) as caught:
        database.url()
    assert caught.value.code.id == "DOD067"
    assert "ep-quiet.ap-southeast-1" in caught.value.fix


def test_certificate_is_verified_where_neon_writes_that_it_is_not():
    """`sslmode=require` encrypts to whoever answers; a stand-in on this machine is left as it is."""
    uri = verified("postgresql://a:b@ep-quiet.aws.neon.tech/quiz?sslmode=require&channel_binding=require")
    assert uri.endswith("?sslmode=verify-full&channel_binding=require&sslrootcert=system")
    here = "postgresql://a:b@127.0.0.1:5/quiz?sslmode=disable"
    assert verified(here) == here


@pytest.mark.parametrize("fault", [None, "lost", "lost before", "status after"])
def test_restore_puts_the_data_of_then_back_once_whatever_becomes_of_the_reply(database, project, fault):
    """The addresses stay, the data of now is a branch of its own, and the newest fencing token outlives the restore."""
    points, restored_before = database.restore_points, project.restores
    asyncio.run(points.make("plan-1"))
    assert asyncio.run(points.find("plan-1")).endswith("/plan-1")
    url = database.url()
    run(url, "INSERT INTO note VALUES (2)")
    with connect(url, autocommit=True) as session:
        fence.advance(session, "dodai", "public.goose_db_version", 4)
    if fault:
        project.faults.add(ApiFault(kind=fault, where="POST .*/restore"))
    where = asyncio.run(points.put_back("plan-1", "plan-2", 5))
    assert where == "the branch `dodai-before-plan-2`"
    assert database.url() == url
    assert notes(database) == [(1,)]
    kept = project.named("dodai-before-plan-2")
    kept.server.start()
    assert run(kept.server.login("quiz_owner", "quiz", pooled=False), "SELECT id FROM note") == [[(1,), (2,)]]
    assert asyncio.run(points.is_back("plan-2"))
    assert not asyncio.run(points.is_back("plan-3"))
    with connect(url, autocommit=True) as session:
        assert fence.newest(session, "dodai", "public.goose_db_version") == 5
    asyncio.run(points.put_back("plan-1", "plan-2", 5))  # a resumed plan asks again
    assert project.restores == restored_before + 1


def test_holder_that_was_replaced_restores_nothing(database, project):
    """Somebody took over while this one was paused."""
    asyncio.run(database.restore_points.make("plan-1"))
    with connect(database.url(), autocommit=True) as session:
        fence.advance(session, "dodai", "public.goose_db_version", 9)
    with pytest.raises(DodaiError, match="token 8 is older than 9"):
        asyncio.run(database.restore_points.put_back("plan-1", "plan-2", 8))
    assert project.named("dodai-before-plan-2") is None


@pytest.mark.parametrize("fault", ["lost", "status after"])
def test_restore_point_is_made_once_and_said_to_be_made_when_it_was_seen(database, project, fault):
    """A lost reply is settled by a look; old points go, but none that Neon would not delete."""
    project.faults.add(ApiFault(kind=fault, where="POST .*/branches$"))
    asyncio.run(database.restore_points.make("plan-1"))
    assert [point.name for point in database.restore_points.all()] == ["plan-1"]
    for number in (2, 3, 4, 5):
        asyncio.run(database.restore_points.make(f"plan-{number}"))
        project.named(f"dodai-point-plan-{number}").created_at = f"2026-11-2{number}T00:00:00Z"
    project.named("dodai-point-plan-1").created_at = "2026-11-21T00:00:00Z"
    asyncio.run(database.restore_points.make("plan-6"))
    assert [point.name for point in database.restore_points.all()] == ["plan-6", "plan-5", "plan-4"]
    assert asyncio.run(database.restore_points.find("plan-1")) == ""


def test_locked_project_is_asked_again_until_it_is_free(database, project):
    """423 means that nothing was done; operations are waited for to their end, and the state of the branch too."""
    project.work_s = 0.3
    asyncio.run(database.restore_points.make("plan-1"))
    with_delay = project.exchanges[-1]
    assert with_delay.status == 200
    project.operations[next(iter(project.operations))].due += 0
    project.begin("apply_config", project.named("main"))
    asyncio.run(database.restore_points.make("plan-2"))
    assert any(one.status == 423 for one in project.exchanges)


def test_branches_are_read_page_by_page(database, project, monkeypatch):
    """A project has more branches than a page."""
    monkeypatch.setattr(neon_branches, "PAGE", 1)
    for name in ("one", "two"):
        database.branches.make(name, database.branches.named("main"), compute=False)
    assert {branch.name for branch in database.branches.all()} == {"main", "one", "two"}
    assert database.branches.named("two").parent_id == project.named("main").id


def test_rehearsal_has_a_branch_of_its_own_that_is_gone_afterwards(database, project):
    """What is done to the copy is not done to the original, also when the block fails."""
    copies = BranchCopies(database)

    def rehearse():
        with copies.copied("run-1") as copy:
            assert copy.production_data
            run(copy.url, "INSERT INTO note VALUES (2)")
            assert project.named("dodai-rehearsal-run-1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        rehearse()
    assert project.named("dodai-rehearsal-run-1") is None
    assert notes(database) == [(1,)]


def test_deleted_branch_is_gone_though_it_can_still_be_looked_at(database, project):
    """For seven days it could be recovered: it stands in no list, and that is what tells."""
    made = database.branches.make("one", database.branches.named("main"), compute=False)
    dataclasses.replace(database.branches, settle_s=1).delete(made)
    assert database.branches.find("one") is None
    assert made.id in project.deleted


def test_branches_that_a_killed_rehearsal_left_behind_are_named_and_old_ones_deleted(database, project):
    """One that may still run stays; the next rehearsal says what it found."""
    said = []
    for name in ("old", "new"):
        database.branches.make(f"dodai-rehearsal-{name}", database.branches.named("main"), compute=False)
    project.named("dodai-rehearsal-old").created_at = (datetime.now(UTC) - timedelta(hours=7)).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
    with BranchCopies(database, said.append).copied("run-2"):
        pass
    assert {branch.name for branch in project.branches.values()} == {"main", "dodai-rehearsal-new"}
    assert said[0] == "deleted the branch `dodai-rehearsal-old`, which a rehearsal left behind 7 h ago"
    assert "the branch `dodai-rehearsal-new` is of another rehearsal, begun 0 min ago" in said[1]


@dataclasses.dataclass(frozen=True)
class BadDay:
    """What is wrong, and what is said about it."""

    id: str
    code: str
    words: str
    fix: str = ""
    token: str = CANARY
    changes: dict = dataclasses.field(default_factory=dict)
    fault: ApiFault | None = None
    failing: str = ""
    most_branches: int = 10
    project: str = ""


BAD_DAYS = (
    BadDay("expired token", "DOD701", "does not accept `NEON_API_KEY`", token=f"{CANARY}-expired"),
    BadDay("token that only reads", "DOD702", "token lacks `write`", token="reader"),
    BadDay("no such project", "DOD720", "no project `other-1`", project="other-1"),
    BadDay("deleted branch", "DOD720", "has no branch `gone`", "name one of `main`", changes={"branch": "gone"}),
    BadDay("no such role", "DOD720", "has no database `quiz` of a role `who`", changes={"role": "who"}),
    BadDay("limit of the plan", "DOD723", "branches limit exceeded", "delete branches", most_branches=1),
    BadDay("operation that failed", "DOD722", "`create_branch` ended as failed", failing="create_branch"),
    BadDay(
        "reply off the contract", "DOD707", "`$.branch` should be", fault=ApiFault(kind="off contract", where="POST")
    ),
    BadDay("server error", "DOD705", "503", fault=ApiFault(kind="status", where="GET", times=99)),
)


@pytest.mark.parametrize("day", BAD_DAYS, ids=lambda day: day.id)
def test_bad_day_is_a_coded_error_without_the_token(project, database, day, monkeypatch):
    """Said with what to do; the token and the password of the database are in no message."""
    asked = driver(project, day.token, SkippedWaits() if day.fault else None, **day.changes)
    if day.project:
        asked = dataclasses.replace(asked, branches=dataclasses.replace(asked.branches, project=day.project))
    monkeypatch.setattr(project, "most_branches", day.most_branches)
    if day.failing:
        project.fail[day.failing] = "no capacity"
    if day.fault:
        project.faults.add(day.fault)

    def ask():
        asked.url()
        asyncio.run(asked.restore_points.make("plan-1"))

    with closing(asked.branches.api), pytest.raises(DodaiError) as caught:
        ask()
    error = caught.value
    assert error.code.id == day.code
    assert day.words in error.message
    assert day.fix in error.fix
    password = project.named("main").server.passwords["quiz_owner"]
    for text in (repr(error), str(error), repr(asked)):
        assert day.token not in text or day.token == "reader"
        assert CANARY not in text
        assert password not in text
    project.faults.clear()
    assert notes(database) == [(1,)]


def test_disabled_compute_is_not_called_running(database, project):
    """What Neon says about the compute is asked before anybody connects."""
    project.named("main").disabled = True
    with pytest.raises(DodaiError) as caught:
        asyncio.run(database.running())
    assert caught.value.code.id == "DOD721"
    assert "is disabled" in caught.value.message


@pytest.mark.optional_part("vendor-specs")
def test_driver_and_stand_in_keep_to_the_published_specification(database, project):
    """Every request and every reply of a restore point, a restore and a rehearsal, both directions."""
    begin = len(project.exchanges)
    project.settings = {"allowed_ips": {"ips": ["203.0.113.0/24"], "protected_branches_only": False}}
    assert len(database.inspect().remarks) == 1
    asyncio.run(database.restore_points.make("plan-1"))
    asyncio.run(database.restore_points.put_back("plan-1", "plan-2", 5))
    with BranchCopies(database).copied("run-3"):
        pass
    project.work_s = 0.1
    database.branches.make("more", database.branches.named("main"), compute=False)
    with pytest.raises(DodaiError):
        database.branches.named("gone")
    exchanges = project.exchanges[begin:]
    assert {one.method for one in exchanges} == {"GET", "POST", "DELETE"}
    verdict = SPEC.judge(exchanges)
    assert verdict.problems == ()
    assert verdict.official == len(exchanges)
