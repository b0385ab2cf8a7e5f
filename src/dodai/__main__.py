"""The entry point. What is to start fast answers before the command line library is loaded (start-up budget)."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dodai.observability.ports import KeptLines


def main() -> None:
    """Run the command line; exits with the codes of `docs/reference/exit-codes.md`."""
    _in_utf8()
    # Nearly all that a command allocates are modules, which are kept: looking for garbage while they load, and again
    # at the exit, is an eighth of the time of `migrate up`.
    gc.set_threshold(50_000, 10, 10)
    try:
        _run(sys.argv[1:])
    finally:
        gc.freeze()


def _in_utf8() -> None:
    """Start over in Python's UTF-8 mode where the locale is of another encoding.

    There a path with other characters can be opened, and neither printed, sent to the Host nor written to a journal.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - the same program


def _run(words: list[str]) -> None:
    if words == ["--version"]:
        from dodai import __version__

        print(f"dodai {__version__}")  # noqa: T201 - data on stdout
        return
    if words[:1] == ["trace"] and "--help" not in words and "-h" not in words:
        from dodai.observability.trace import main as trace

        sys.exit(trace(words[1:], _lines_at))
    if words == ["migrate", "up"]:
        _end_if_up_to_date()
    from dodai.cli.main import run

    sys.exit(run(words))


def _lines_at(address: str) -> KeptLines:
    from dodai.wiring.watch import lines_at  # a client, which nobody needs who looks in files

    return lines_at(address)


def _end_if_up_to_date() -> None:
    """Say that there was nothing to do and end; whether anybody hears it decides nothing."""
    from pathlib import Path

    from dodai.cli.up_to_date import up_to_date

    try:
        if not up_to_date(Path.cwd(), os.environ):
            return
    except KeyboardInterrupt:
        sys.exit(130)
    with contextlib.suppress(OSError):
        print("already up to date", flush=True)  # noqa: T201 - data on stdout
    # Nothing is open any more, and to take down what was loaded is a fifteenth of the time.
    os._exit(0)


if __name__ == "__main__":
    main()
