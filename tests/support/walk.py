"""`python walk.py CASE` in a project: one command the second time, and the files of dodai that it passes, as JSON.

`ran` are those of which a function ran, `way` those that were on the call stack whenever the command acted on something
outside of itself: a statement sent, a file or folder made, a socket connected, a program started. Nothing is imported
any more by then: what is loaded is on no walk.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Self

import dodai
from dodai.cli.main import run
from dodai.providers.postgres.pq_connection import PqConnection

ROOT = str(Path(dodai.__file__).parent) + "/"
ACTS = {"socket.connect", "subprocess.Popen", "sqlite3.connect", "os.rename", "os.mkdir", "os.remove"}


class Walk:
    """What one command passes, noted while the block runs."""

    def __init__(self) -> None:
        self.ran: set[str] = set()
        self.way: set[str] = set()
        self.on = False
        sys.addaudithook(self._audited)
        send = PqConnection.execute

        def execute(conn: PqConnection, *args: Any, **options: Any) -> Any:
            self.acted()
            return send(conn, *args, **options)

        PqConnection.execute = execute  # type: ignore[method-assign]

    def __enter__(self) -> Self:
        self.on = True
        threading.setprofile(self._called)
        sys.setprofile(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)
        self.on = False

    def _called(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(ROOT) and code.co_name != "<module>":
            self.ran.add(code.co_filename.removeprefix(ROOT))

    def _audited(self, event: str, args: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
        if self.on and (writes or event in ACTS):
            self.acted()

    def acted(self) -> None:
        frame: FrameType | None = sys._getframe()
        while frame is not None and self.on:
            if frame.f_code.co_filename.startswith(ROOT):
                self.way.add(frame.f_code.co_filename.removeprefix(ROOT))
            frame = frame.f_back


def finding(walk: Walk) -> int:
    """A manifest without a public service; what is printed counts as an act."""
    words = ["check", "operations", "--fast", "--quiet", "--select", "DOD303"]
    code = run(words)
    write = sys.stdout.write

    def printed(text: str) -> int:
        walk.acted()
        return write(text)

    sys.stdout.write = printed  # type: ignore[method-assign]
    with walk:
        return code - run(words)


def migration(walk: Walk) -> int:
    """The second file of a folder is applied."""
    first = Path("db/migrations/00001_a.sql")
    first.parent.mkdir(parents=True)
    first.write_text("-- +goose Up\nCREATE TABLE a (id int PRIMARY KEY);\n-- +goose Down\nDROP TABLE a;\n")
    code = run(["migrate", "up"])
    text = first.read_text().replace("TABLE a", "TABLE b")
    first.with_name("00002_b.sql").write_text(text)
    with walk:
        return code or run(["migrate", "up"])


def deploy(walk: Walk) -> int:
    """The second release takes the place of the first."""
    try:
        code = run(["deploy", "local", "--yes"])
        with Path("web.py").open("a") as file:
            file.write("# the next release\n")
        with walk:
            return code or run(["deploy", "local", "--yes"])
    finally:
        run(["down", "local", "--yes"])


if __name__ == "__main__":
    seen = Walk()
    ended = {"finding": finding, "migration": migration, "deploy": deploy}[sys.argv[1]](seen)
    print("\n" + json.dumps({"ran": sorted(seen.ran), "way": sorted(seen.way)}))
    sys.exit(ended)
