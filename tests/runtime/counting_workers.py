"""A server that starts workers again and again, each of which counts requests and is killed.

`STATE PORT WORKERS REQUESTS`. The first one counts before it forks, so what its children inherit is in use.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from dodai.observability.policy import ObservabilityPolicy
from dodai.runtime import Runtime, RuntimeConfig

AT_ONCE = 4


def serve(runtime: Runtime, count: int) -> None:
    """Every tenth request fails."""
    for number in range(count):
        outcome, status = ("server_error", 500) if number % 10 == 0 else ("ok", 200)
        runtime.write_served(runtime.fresh(), ("http", outcome, status, "/questions/{id}", "GET"), 0.02, {})


def main() -> None:
    state, port, workers, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    policy = ObservabilityPolicy(stdout=False, heartbeat_s=0.0, metrics=f"127.0.0.1:{port}")
    runtime = Runtime(RuntimeConfig(service="web", state=state, policy=policy))
    serve(runtime, count)
    for _ in range(0, workers, AT_ONCE):
        started = []
        for _ in range(AT_ONCE):
            pid = os.fork()
            if pid == 0:
                try:
                    serve(runtime, count)
                finally:
                    os.kill(os.getpid(), signal.SIGKILL)
            started.append(pid)
        for pid in started:
            assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


if __name__ == "__main__":
    main()
