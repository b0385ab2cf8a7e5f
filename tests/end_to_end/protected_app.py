"""A small application in git whose `staging` is protected, and the people who sign for it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.end_to_end.small_app import SmallApp
from tests.support.command import git

from dodai.migrations.goose_file import history_of
from dodai.operations.evidence import RehearsalRecord
from dodai.operations.run.override import state
from dodai.wiring import environments
from dodai.wiring.find_project import find_project
from dodai.wiring.migration_target import target

SIGNERS = "ops/allowed_signers"


@dataclass(frozen=True, slots=True)
class ProtectedApp(SmallApp):
    """`dsn` is the control database; keys stand in a folder of their own, outside of the tree."""

    dsn: str = ""

    def write(self, *, spoil="", more="", protection="approvals = 0", protected=True):
        lines = [f"control_url = {json.dumps(self.dsn)}", protection]
        SmallApp.write(
            self, spoil=spoil, more=more, environment="\n".join([*lines, "protected = true"] if protected else lines)
        )
        (self.folder / ".gitignore").write_text(".dodai/\nout.log\n")
        return self

    def commit(self, message="change"):
        """Everything as it is now, committed."""
        if not (self.folder / ".git").exists():
            self.git("init", "-q")
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def git(self, *words):
        return git(self.folder, *words)

    def key(self, name):
        """The private key of a person, made at the first time."""
        folder = self.folder.with_name(self.folder.name + "-keys")
        folder.mkdir(exist_ok=True)
        path = folder / name
        if not path.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
        return path

    def signers(self, *lines):
        """Write `allowed_signers`; a bare name gets its own key."""
        path = self.folder / SIGNERS
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(self._signer(line) + "\n" for line in lines))
        return self

    def _signer(self, line):
        if " " in line:
            return line
        words = self.key(line).with_suffix(".pub").read_text().split()[:2]
        return " ".join([f"{line}@example.com", *words])

    def record(self):
        """A rehearsal of what is committed, as evidence."""
        done = self.run("rehearse", "--record", "staging")
        assert done.returncode == 0, done.stderr
        return done

    def evidence(self):
        """A rehearsal of what is committed, on record without the minute that it takes."""
        here = environments.open(find_project(self.folder / "dodai.toml"), "staging")
        release = here.artifacts.publish(str(self.folder))
        migrations = (self.folder / "db" / "migrations").is_dir()
        found = history_of(target(here.project, self.folder, str)).sound() if migrations else ()
        pending = tuple(migration.raw_sha256 for migration in found)
        at = datetime.now(UTC).isoformat()
        known = RehearsalRecord(
            "source", here.artifacts.proven(release), here.project.manifest.hash, release, "f" * 40, pending, "ok", at
        )
        asyncio.run(state(here, "rehearse", known.as_data(), release=release))
        return release

    def refused_plan(self, kind="deploy"):
        """The id of the newest plan of that kind in the journal."""
        plans = json.loads(self.run("history", "staging", "--json").stdout)["plans"]
        return next(plan["planId"] for plan in plans if plan["kind"] == kind)

    def approve(self, name, kind="deploy"):
        """What `name` is shown, who signs what was refused last."""
        done = self.run("approve", self.refused_plan(kind), "--key", str(self.key(name)), "--yes")
        assert done.returncode == 0, done.stderr
        return done.stderr


def account():
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def quiet_home(tmp_path: Path) -> dict[str, str]:
    """No git settings and no keys of the person who runs the tests."""
    return {"HOME": str(tmp_path), "GIT_CONFIG_GLOBAL": "/dev/null"}
