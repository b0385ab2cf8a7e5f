"""Releases of the working tree: built where the manifest says how, then published with what was built."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.private_file import write_private
from dodai.engine.state_folder import make_folder
from dodai.operations import codes
from dodai.operations.environment import Environment
from dodai.operations.policy import Service
from dodai.operations.programs import find_programs
from dodai.operations.project import Project
from dodai.operations.run.dependencies import LOCKS, OUTPUT_LINES, packages_of

INSTALLS = frozenset({"ci", "install", "sync"})
"""The word of a line that installs what a lock file names: `npm ci`, `pnpm install`, `uv sync`."""


def publish(
    here: Environment,
    note: Callable[[str], None] = lambda _: None,
    images: Callable[[str], Mapping[str, str]] = lambda _: {},
) -> str:
    """The release that the working tree is now, its packages installed; what has to be built is built before that.

    A line that fails is DOD378, and something that belongs to the release and is not there DOD379; nothing is published
    then. `note` hears what takes its time. `images` gives those of services, by digest, for the files of a
    release; where images are run it has to.
    """
    project = here.project
    services, root = tuple(project.policy.services.values()), str(project.root)
    included = _included(services)
    for service in services:
        if service.build:
            _Build(project, service, note).carry_out(lambda: here.artifacts.identify(root, included))
    for service in services:
        _refuse_missing(project.root, service)
    release = here.artifacts.publish(root, included)
    name = Path(project.manifest.path).name
    if (project.root / name).read_bytes() != project.manifest.text:
        release = here.artifacts.derive(release, {name: project.manifest.text})  # another web tier was chosen
    release = here.artifacts.with_images(release, images(release))
    if packages := packages_of(here):
        packages.provide(release, note)
    return release


def _included(services: Sequence[Service]) -> tuple[str, ...]:
    """Paths below the root, ignored by git or not, that belong to a release."""
    named = (os.path.normpath(Path(service.cwd, name)) for service in services for name in service.include)
    return tuple(dict.fromkeys(named))


def _refuse_missing(root: Path, service: Service) -> None:
    for name in service.include:
        if not (root / service.cwd / name).exists():
            built = "its `build` did not make it" if service.build else "nothing makes it"
            raise DodaiError(
                codes.INCLUDE_MISSING,
                f"`include` of `[service.{service.name}]` names `{name}`, which is not in `{service.cwd}`; {built}",
                codes.INCLUDE_MISSING.fix.en,
                exit_code=2,
            )


@dataclass(frozen=True, slots=True)
class _Build:
    """The build of one service, in its folder of the working tree. What each line was carried out for is remembered."""

    project: Project
    service: Service
    note: Callable[[str], None]

    @property
    def folder(self) -> Path:
        return self.project.root / self.service.cwd

    @property
    def memory(self) -> Path:
        return self.project.state / "builds" / f"{self.service.name}.json"

    def carry_out(self, sources: Callable[[], str]) -> None:
        """Every line whose inputs changed, and all after the first of them; all where something built is gone."""
        with self._alone():
            complete = all((self.folder / name).exists() for name in self.service.include)
            known = self._remembered() if complete else {}
            keys: dict[str, str] = {}
            again = False
            for line in self.service.build:
                key = self._locks() if is_install(line) else f"{self._locks()}-{sources()}"
                again = again or known.get(line) != key
                if again:
                    write_private(self.memory, json.dumps(keys).encode())  # of what is under way nothing is known
                    self._run(line)
                keys[line] = key
            write_private(self.memory, json.dumps(keys).encode())

    def _run(self, line: str) -> None:
        self.note(f"{self.service.name}: {line}")
        began = time.monotonic()
        programs = find_programs(self.project.python)
        argv, environment = programs.fill(shlex.split(line)), programs.environment(line, os.environ)
        log = self.memory.with_suffix(".log")
        try:
            with log.open("wb") as output:
                done = subprocess.run(
                    argv,
                    cwd=self.folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    check=False,
                )
        except OSError as error:
            raise self._failed(f"`{line}` cannot be started: `{argv[0]}`: {error.strerror}", ()) from error
        if done.returncode:
            tail = log.read_text("utf-8", "replace").splitlines()[-OUTPUT_LINES:]
            raise self._failed(f"`{line}` ended with {done.returncode}", tuple(tail))
        self.note(f"{self.service.name}: {line}  {time.monotonic() - began:.1f} s")

    def _failed(self, said: str, output: tuple[str, ...]) -> DodaiError:
        return DodaiError(
            codes.BUILD_FAILED,
            f"{said} in `{self.folder}`; nothing was published",
            codes.BUILD_FAILED.fix.en,
            details=tuple(f"{self.service.name} | {line}" for line in output),
        )

    def _locks(self) -> str:
        """Of every file, in its folder and at the root, that says what is to be installed."""
        digest = hashlib.sha256()
        for path in (folder / name for folder in {self.folder, self.project.root} for name in sorted(LOCKS)):
            if path.is_file():
                digest.update(f"{path.relative_to(self.project.root)}\n".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:16]

    def _remembered(self) -> Mapping[str, str]:
        try:
            known = json.loads(self.memory.read_bytes())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        make_folder(self.memory.parent)
        with self.memory.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def is_install(line: str) -> bool:
    """Whether a line only installs what lock files name, so that no source of the project has a part in it."""
    words = shlex.split(line)[1:4]
    return "run" not in words and bool(INSTALLS.intersection(words))
