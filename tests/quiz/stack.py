"""The quiz as real processes on free loopback ports, for tests that need no Host, no edge and no release."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.support.wait import until

import dodai.agent

QUIZ = Path(__file__).parents[2] / "examples" / "quiz"
LIFELINE = Path(dodai.agent.__file__).parent / "lifeline.py"
STOP_S = 15.0


@dataclass(slots=True)
class Process:
    """One service. It dies with this process, however this process dies."""

    name: str
    port: int
    child: subprocess.Popen[bytes]
    lifeline: int
    log: Path

    def stop(self) -> int:
        """SIGTERM; its exit code once it has drained."""
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(STOP_S)

    def release(self) -> None:
        os.close(self.lifeline)
        self.child.wait(STOP_S)


@dataclass(slots=True)
class Stack:
    """`url` is the web tier; `addresses` the host and port of every service, stable over restarts."""

    database: str
    folder: Path
    manifest: str
    secrets: Mapping[str, str]
    addresses: Mapping[str, str]
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://{self.addresses['web']}"

    def start(
        self, name: str, argv: Sequence[str] = (), cwd: Path = QUIZ, extra: Mapping[str, str] | None = None, **more: str
    ) -> Process:
        """Start a service, return once it listens (identity, backend) or is ready (web).

        `argv` replaces its command; `extra` and `more` are variables of its environment.
        """
        command = list(argv) or [sys.executable, "-m", name]
        host, port = self.addresses[name].split(":")
        log = self.folder / f"{name}.log"
        reader, writer = os.pipe()
        with log.open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LIFELINE), "--fd", str(reader), "--", *command],
                cwd=cwd,
                env={**self.environment(name), **(extra or {}), **more, "PORT": port},
                stdout=output,
                stderr=output,
                pass_fds=(reader,),
            )
        os.close(reader)
        process = self.processes[name] = Process(name, int(port), child, writer, log)
        ready = self.web_is_ready if name == "web" else lambda: listens(host, int(port))
        until(ready, lambda: f"{name} is up:\n{log.read_text()[-2000:]}", child)
        return process

    def end(self, name: str) -> int:
        process = self.processes.pop(name)
        code = process.stop()
        process.release()
        return code

    def environment(self, name: str) -> dict[str, str]:
        return {
            **{key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ},
            **self.secrets,
            "DATABASE_URL": self.database,
            "BACKEND_ADDR": self.addresses["backend"],
            "IDENTITY_ADDR": self.addresses["identity"],
            "DODAI_MANIFEST": self.manifest,
            "DODAI_SERVICE": name,
            "DODAI_ENV": "local",
            "DODAI_PUBLIC_ORIGINS": self.url,
            "DODAI_RELEASE": "r1",
            "DODAI_STATE": str(self.folder),
        }

    def web_is_ready(self) -> bool:
        with contextlib.suppress(URLError, OSError), urlopen(f"{self.url}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
        return False


@contextlib.contextmanager
def running_quiz(database: str, folder: Path, *names: str, manifest: str = "") -> Iterator[Stack]:
    """The named services (all by default) against a migrated database; stopped after the block."""
    ring = "k1:" + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    stack = Stack(
        database=database,
        folder=folder,
        manifest=manifest or str(QUIZ / "dodai.toml"),
        secrets={
            "SESSION_SECRET": secrets.token_urlsafe(32),
            "REVIEW_WEBHOOK_SECRET": secrets.token_urlsafe(32),
            "OIDC_CLIENT_SECRET": secrets.token_urlsafe(32),
            "DODAI_CSRF_KEYS": ring,
            "DODAI_IDENTITY_KEYS": ring,
        },
        addresses={name: f"127.0.0.1:{port}" for name, port in zip(("backend", "identity", "web"), free_ports(3))},  # noqa: B905
    )
    try:
        for name in names or ("backend", "identity", "web"):
            stack.start(name)
        yield stack
    finally:
        for process in reversed(list(stack.processes.values())):
            process.release()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def listens(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False
