"""What stands for the vendors comes up, or it is said what did not and what it wrote."""

from __future__ import annotations

import shutil
import sys
from contextlib import ExitStack

import pytest
from tests.quiz.stack import QUIZ

from dodai.core.errors import DodaiError
from dodai.standins import production_stage
from dodai.standins.fly import FlyStandIn, MachineImage, RegistryStandIn
from dodai.standins.production_stage import machine_config, settle, stand
from dodai.wiring.find_project import find_project


def test_a_machine_that_does_not_come_up_is_named_with_what_it_wrote(monkeypatch, tmp_path):
    """Not the log of another one that did."""
    monkeypatch.setattr(production_stage, "SETTLE_S", 3.0)
    service = find_project(QUIZ / "dodai.toml").policy.services["web"]
    registry = RegistryStandIn("token")
    ends = registry.push(
        "before", MachineImage(str(tmp_path), (sys.executable, "-c", "raise SystemExit('no settings')"))
    )
    serves = registry.push("serves", MachineImage(str(tmp_path), (sys.executable, "-c", production_stage.BY_HAND)))
    with registry, FlyStandIn(registry, {}) as fly:
        fly.launch("quiz-web", serves, machine_config(service, {}), ("nrt",))
        fly.launch("quiz-backend", ends, machine_config(service, {}), ("nrt",))
        with pytest.raises(DodaiError) as caught:
            settle(fly, ["quiz-web", "quiz-backend"])
    assert caught.value.code.id == "DOD719"
    assert "quiz-backend in nrt: " in caught.value.message
    assert "quiz-web" not in caught.value.message
    assert any("no settings" in line for line in caught.value.details)


@pytest.mark.parametrize("installed", [True, False])
def test_what_stands_for_the_pooler_is_told(monkeypatch, tmp_path, installed):
    """A rehearsal without PgBouncer has not seen the application work behind one."""
    for name in ("openssl", "pgbouncer")[: 1 + installed]:
        (tmp_path / name).symlink_to(shutil.which(name) or "/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    project = find_project(QUIZ / "dodai.toml")
    with ExitStack() as stack:
        standing = stand(project, project.policy.environments["production"], stack)
    told = next(row for row in standing.differences if row.part == "pooler")
    assert ("not on PATH" in told.here) is not installed
