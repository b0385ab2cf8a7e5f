"""Restore points that are Neon's snapshots: taken, kept few, and brought back in two phases, whatever happens between."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from tests.providers.neon.test_neon import (  # noqa: F401 - fixtures
    SPEC,
    database,
    driver,
    notes,
    project,
    run,
    standin,
)
from tests.support.vendor_spec import specs

from dodai.core.errors import DodaiError
from dodai.migrations import fence
from dodai.providers.postgres.connection import connect
from dodai.standins import ApiFault


@pytest.fixture
def snapshots(database, project):  # noqa: F811
    """The database with snapshots as restore points; what was said over the wire is as Neon specifies it."""
    begun = len(project.exchanges)
    yield dataclasses.replace(database, points_are="snapshot", _known={})
    for one in project.snapshots.kept.values():
        one.server.discard()
    project.snapshots.kept.clear()
    project.snapshots.most = 10
    if specs():
        assert SPEC.judge(project.exchanges[begun:]).problems == ()


def names(project):  # noqa: F811
    return sorted(one.name for one in project.branches.values())


@pytest.mark.parametrize("where", ["POST .*/restore$", "POST .*/finalize_restore"])
@pytest.mark.parametrize("fault", [None, "lost", "lost before", "status after"])
def test_snapshot_is_brought_back_once_whatever_becomes_of_a_reply(snapshots, project, where, fault):  # noqa: F811
    """The address stays, what was there is a branch of its own, the newest fencing token outlives the restore."""
    points, before = snapshots.restore_points, project.restores
    assert asyncio.run(points.find("plan-1")) == ""
    asyncio.run(points.make("plan-1"))
    assert asyncio.run(points.find("plan-1")).endswith("/plan-1")
    assert names(project) == ["main"], "a snapshot is no branch"
    url = snapshots.url()
    run(url, "INSERT INTO note VALUES (2)")
    with connect(url, autocommit=True) as session:
        fence.advance(session, "dodai", "public.goose_db_version", 4)
    if fault:
        project.faults.add(ApiFault(kind=fault, where=where))
    assert asyncio.run(points.put_back("plan-1", "plan-2", 5)) == "the branch `dodai-before-plan-2`"
    assert snapshots.url() == url
    assert notes(snapshots) == [(1,)]
    assert names(project) == ["dodai-before-plan-2", "main"]
    kept = project.named("dodai-before-plan-2")
    kept.server.start()
    assert run(kept.server.login("quiz_owner", "quiz", pooled=False), "SELECT id FROM note") == [[(1,), (2,)]]
    assert asyncio.run(points.is_back("plan-2"))
    with connect(url, autocommit=True) as session:
        assert fence.newest(session, "dodai", "public.goose_db_version") == 5
    asyncio.run(points.put_back("plan-1", "plan-2", 5))  # a resumed plan asks again
    assert project.restores == before + 1


def test_restore_that_ended_between_its_phases_is_not_called_back_and_is_gone_on_with(snapshots, project):  # noqa: F811
    """Until it is finalized everybody reaches the data of now, and a second try makes no second branch."""
    points = snapshots.restore_points
    asyncio.run(points.make("plan-1"))
    run(snapshots.url(), "INSERT INTO note VALUES (2)")
    project.faults.add(ApiFault(kind="status", status=400, where="POST .*/finalize_restore"))
    with pytest.raises(DodaiError):
        asyncio.run(points.put_back("plan-1", "plan-2", 5))
    assert not asyncio.run(points.is_back("plan-2"))
    assert notes(snapshots) == [(1,), (2,)]
    assert names(project) == ["dodai-restored-plan-2", "main"]
    asyncio.run(points.put_back("plan-1", "plan-2", 5))
    assert notes(snapshots) == [(1,)]
    assert names(project) == ["dodai-before-plan-2", "main"]


def test_snapshots_are_taken_once_few_are_kept_and_the_newest_is_first(snapshots, project):  # noqa: F811
    """A lost reply makes no second one; Neon's answer is polled to its end, and 423 is asked again."""
    points = snapshots.restore_points
    project.work_s = 0.2
    project.faults.add(ApiFault(kind="status", status=423, where="POST .*/snapshot$"))
    project.faults.add(ApiFault(kind="lost", where="POST .*/snapshot$", skip=1))
    for number in range(1, 6):
        asyncio.run(points.make(f"plan-{number}"))
    asyncio.run(points.make("plan-5"))
    assert [one.name for one in points.all()] == ["plan-5", "plan-4", "plan-3"]
    assert len(project.snapshots.kept) == 3


def test_limit_a_point_that_is_gone_and_work_that_fails_are_coded(snapshots, project):  # noqa: F811
    """What is not there is named before anything is changed."""
    points = snapshots.restore_points
    with pytest.raises(DodaiError) as gone:
        asyncio.run(points.put_back("plan-9", "plan-2", 5))
    assert (gone.value.code.id, "no snapshot `dodai-point-plan-9`" in gone.value.message) == ("DOD720", True)
    project.snapshots.most = 0
    with pytest.raises(DodaiError) as full:
        asyncio.run(points.make("plan-1"))
    assert full.value.code.id == "DOD723"
    project.snapshots.most, project.fail["create_timeline"] = 10, "no space left"
    with pytest.raises(DodaiError) as failed:
        asyncio.run(points.make("plan-1"))
    assert (failed.value.code.id, "ended as failed" in failed.value.message) == ("DOD722", True)
    assert names(project) == ["main"]


def test_branch_with_a_parent_has_no_snapshots_and_that_is_told_before_anything_is_changed(snapshots, project):  # noqa: F811
    """By the preflight, by `doctor`, and once more should it have become so since."""
    asyncio.run(snapshots.restore_points.possible())
    project.named("main").parent_id = "br-elsewhere"
    before = len(project.exchanges)
    for ask in (snapshots.restore_points.possible, lambda: snapshots.restore_points.make("plan-1")):
        with pytest.raises(DodaiError) as refused:
            asyncio.run(ask())
        assert (refused.value.code.id, "`main` has a parent" in refused.value.message) == ("DOD724", True)
    assert {one.method for one in project.exchanges[before:]} == {"GET"}
    assert snapshots.inspect().differs == (
        "`restore_points` is `snapshot`, and Neon takes none of `main`: it has a parent",
    )


def test_what_a_snapshot_replaced_can_be_deleted_and_what_a_branch_replaced_cannot(snapshots, project):  # noqa: F811
    """As Neon says of root branches: the guide tells who restores often to take snapshots."""
    asyncio.run(snapshots.restore_points.make("plan-1"))
    asyncio.run(snapshots.restore_points.put_back("plan-1", "plan-2", 5))
    snapshots.branches.delete(snapshots.branches.named("dodai-before-plan-2"))
    assert names(project) == ["main"]
    branches = dataclasses.replace(snapshots, points_are="branch")
    asyncio.run(branches.restore_points.make("plan-3"))
    asyncio.run(branches.restore_points.put_back("plan-3", "plan-4", 6))
    snapshots.branches.delete(snapshots.branches.named("dodai-point-plan-3"))
    with pytest.raises(DodaiError, match="cannot delete a root branch"):
        snapshots.branches.delete(snapshots.branches.named("dodai-before-plan-4"))


@pytest.mark.parametrize("kind", ["branch", "snapshot"])
def test_limit_of_root_branches_is_told_as_a_limit_of_the_plan(snapshots, project, monkeypatch, kind):  # noqa: F811
    """Going back makes one more root, of either kind of restore point; what serves is as it was."""
    points = dataclasses.replace(snapshots, points_are=kind).restore_points
    asyncio.run(points.make("plan-1"))
    monkeypatch.setattr(project, "most_roots", 1)
    with pytest.raises(DodaiError, match="root branches limit exceeded") as refused:
        asyncio.run(points.put_back("plan-1", "plan-2", 5))
    assert refused.value.code.id == "DOD723"
    assert not asyncio.run(points.is_back("plan-2"))
    assert project.named("dodai-before-plan-2") is None
