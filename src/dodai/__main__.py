"""The entry point. `--version` and `trace` answer before the command line library is loaded (start-up budget)."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; exits with the codes of `docs/reference/exit-codes.md`."""
    words = sys.argv[1:]
    if words == ["--version"]:
        from dodai import __version__

        print(f"dodai {__version__}")  # noqa: T201 - data on stdout
        return
    if words[:1] == ["trace"] and "--help" not in words and "-h" not in words:
        from dodai.observability.trace import main as trace

        sys.exit(trace(words[1:]))
    from dodai.cli.main import run

    sys.exit(run(words))


if __name__ == "__main__":
    main()
