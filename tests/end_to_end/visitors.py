"""People who keep asking for the front page while something goes wrong behind it."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.end_to_end.small_app import SmallApp
from tests.levels import WHOLE, level
from tests.support.wait import until


def pause_s() -> float:
    """Between two requests of one visitor. They take half of the processor that what they watch needs, so fewer by day."""
    return 0.01 if level() == WHOLE else 0.05


@dataclass
class Seen:
    """`answered` counts good answers, `failed` says what anybody else got."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)


@contextmanager
def visitors(app: SmallApp, count: int = 2) -> Iterator[Seen]:
    """`count` people on fresh connections, one request after the other; somebody was answered before the block begins."""
    told = json.loads(app.run("status", "staging", "--json").stdout)
    address = told["host"]["edge"].removeprefix("http://")
    seen, over = Seen(), threading.Event()

    def ask() -> None:
        while not over.wait(pause_s()):
            try:
                connection = http.client.HTTPConnection(address, timeout=20)
                connection.request("GET", "/")
                answer = connection.getresponse()
                body = answer.read()
                connection.close()
            except (OSError, http.client.HTTPException) as error:
                seen.failed.append(repr(error))
                continue
            if answer.status == 200 and b"hello from" in body:
                seen.answered += 1
            else:
                seen.failed.append(f"{answer.status} {body[:80]!r}")

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: seen.answered)
        yield seen
        before = seen.answered
        until(lambda: seen.answered > before or seen.failed)
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
