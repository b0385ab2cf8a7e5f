"""A folder of Alembic revisions as the history that the rules of migrations judge."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dodai.core.errors import DodaiError
from dodai.migrations import codes, sql
from dodai.migrations.check.base import files_at
from dodai.migrations.goose_file import FileError, Folder, Problem
from dodai.migrations.migration import Direction, Migration, Statement
from dodai.providers.alembic.revision import Revision, as_migrations, heads, problems, read_revision

RENDER_TIMEOUT_S = 60.0
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "VIRTUAL_ENV", "SYSTEMROOT")
_STEP = re.compile(r"^-- Running (?:upgrade|downgrade) (\S*) ?-> (\S*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class AlembicReader:
    """`folder` (the one with the revision files) below `root`; `python` is the user's interpreter.

    `environment` are the variables that their env.py needs while it renders; everything else is scrubbed.
    """

    root: Path
    folder: str
    python: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> Mapping[str, bytes]:
        """The modules of the working tree, by path relative to `root`."""
        paths = sorted((self.root / self.folder).glob("*.py"))
        return {str(path.relative_to(self.root)): path.read_bytes() for path in paths}

    def read(self) -> Folder:
        """The revisions without their statements: nothing is executed."""
        return _folder(self.files)

    def revisions(self) -> tuple[Revision, ...]:
        """Those of the working tree that can be read."""
        return _revisions(self.files)[0]

    def heads(self) -> tuple[str, ...]:
        """More than one is DOD222."""
        return heads(self.revisions())

    def at(self, ref: str) -> Folder:
        """The revisions at a commit."""
        return _folder(files_at(self.root, ref, self.folder, ".py"))

    def rendered(self) -> Folder:
        """The revisions with their statements, as `alembic upgrade --sql` prints them in the user's interpreter.

        Raises DOD226 when a revision cannot be rendered without a database; that is not a finding about the revision.
        """
        found, wrong = _revisions(self.files)
        up = _split(self._alembic("upgrade", "heads"), "up")
        down = _split(self._alembic("downgrade", "heads:base"), "down")
        ours = {r.id: _rendered(r, up.get(r.id, ""), down.get(r.id, "")) for r in found}
        return Folder(as_migrations(found, ours), (*wrong, *problems(found)))

    def _alembic(self, *words: str) -> str:
        ini = ini_of(self.root, self.folder)
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        command = [self.python, "-m", "alembic", "-c", str(ini), *words, "--sql"]
        try:
            done = subprocess.run(
                command, cwd=ini.parent, env={**kept, **self.environment}, capture_output=True, text=True,
                timeout=RENDER_TIMEOUT_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _unrendered(str(error)) from error
        if done.returncode != 0:
            raise _unrendered((done.stderr.strip().splitlines() or ["alembic failed"])[-1])
        return done.stdout


def _unrendered(said: str) -> DodaiError:
    fix = "let env.py support `--sql` (offline mode), and name what it needs in `[check].environment`"
    return DodaiError(codes.EXTERNAL, f"the revisions cannot be rendered to SQL: {said}", fix, exit_code=1)


def ini_of(root: Path, folder: str) -> Path:
    """The nearest alembic.ini from the revisions upwards, not above `root`."""
    place = root / folder
    while place not in (root, root.parent) and not (place / "alembic.ini").is_file():
        place = place.parent
    return place / "alembic.ini"


def _revisions(files: Mapping[str, bytes]) -> tuple[tuple[Revision, ...], tuple[Problem, ...]]:
    found: list[Revision] = []
    wrong: list[Problem] = []
    for path, data in files.items():
        try:
            revision = read_revision(path, data)
        except FileError as error:
            wrong.append(error.problem)
        else:
            found += [revision] if revision else []
    return tuple(found), tuple(wrong)


def _folder(files: Mapping[str, bytes]) -> Folder:
    found, wrong = _revisions(files)
    return Folder(as_migrations(found), (*wrong, *problems(found)))


def _split(text: str, direction: Direction) -> dict[str, str]:
    """What Alembic prints for each revision, by the revision that the step is about."""
    steps = list(_STEP.finditer(text))
    ends = [step.start() for step in steps[1:]] + [len(text)]
    about = 2 if direction == "up" else 1
    return {step[about]: text[step.end() : end] for step, end in zip(steps, ends, strict=True)}


def _rendered(revision: Revision, up: str, down: str) -> Migration:
    (forward, one), (back, two) = _statements(up, revision.upgrade_line), _statements(down, revision.line)
    return Migration(
        revision.id, 0, "", revision.path, forward, back, transactional=one and two, raw_sha256="", token_sha256=""
    )


def _statements(text: str, line: int) -> tuple[tuple[Statement, ...], bool]:
    """The statements without Alembic's own bookkeeping; False when it left its transaction on the way."""
    found: list[Statement] = []
    inside = True
    spans = [span.text for span in sql.statements(text)]
    own = [span for span in spans if "alembic_version" not in span]
    for number, span in enumerate(own):
        first = sql.words(span, 1)
        if first in (("begin",), ("commit",)):
            # The last COMMIT of the whole output belongs to no revision.
            inside = inside and (first == ("begin",) or number == len(own) - 1)
            continue
        found.append(Statement(span, line))
    return tuple(found), inside
