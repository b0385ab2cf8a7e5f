"""Releases that nobody goes back to give their room back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dodai.engine.journal import SqliteJournal
from dodai.operations.release import ReleaseRecord
from dodai.operations.run.release_log import KEPT, ReleaseLog
from dodai.wiring import environments
from dodai.wiring.find_project import load_project

MANIFEST = b"""[project]
name = "small"
[env.staging]
[service.web]
command = ["web"]
public = true
"""


@dataclass(frozen=True)
class Served(ReleaseLog):
    """The real log; what served is made up."""

    served: tuple[str, ...] = ()

    async def records(self) -> tuple[ReleaseRecord, ...]:
        return tuple(ReleaseRecord(release, "config") for release in self.served)


async def test_a_release_that_served_keeps_its_files_and_one_that_never_did_loses_them(tmp_path: Path):
    """The newest stay, and those a rollback may go to, however old; the rest is removed."""
    environment = environments.open(load_project(MANIFEST, tmp_path), "staging")
    source = tmp_path / "source"
    source.mkdir()
    made = []
    for number in range(KEPT + 4):
        (source / "web.py").write_text(str(number))
        made.append(environment.artifacts.publish(str(source)))
    SqliteJournal(environment.folder / "journal.sqlite").close()
    gone = await Served(environment, (made[-1], made[0])).prune()
    assert sorted(gone) == sorted(made[1:4])
    assert set(environment.artifacts.published()) == set(made) - set(gone)
