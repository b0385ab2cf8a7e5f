"""What is measured, in a process of its own.

dodai stands in the classes of a framework: an application beside a wrapped one, in the same process, is asked as well,
and refused, however little it has to do with dodai. So what is compared may not share a process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable
from typing import Any

Answers = dict[str, Callable[..., Any]]


class Apart:
    """A process that `answers(*words)` gives what it can be asked for; `missing` names a package that it lacks."""

    def __init__(self, answers: Callable[..., Answers], *words: Any) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        spawn.Process(target=_serve, args=(theirs, answers, words), daemon=True).start()
        theirs.close()
        self.missing: str = self._pipe.recv()

    def ask(self, name: str, *words: Any) -> Any:
        self._pipe.send((name, words))
        return self._pipe.recv()


def _serve(pipe: Any, answers: Callable[..., Answers], words: tuple[Any, ...]) -> None:
    try:
        known = answers(*words)
    except ImportError as error:
        pipe.send(error.name or str(error))
        return
    pipe.send("")
    with contextlib.suppress(EOFError):  # the end of the benchmark
        while True:
            name, asked = pipe.recv()
            pipe.send(known[name](*asked))
