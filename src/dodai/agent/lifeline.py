"""Run one command that cannot outlive whoever holds the other end of a pipe.

    python -I -S lifeline.py --fd N --stop INT --grace 5 --then QUIT -- command argument…

The holder of the pipe's write end dies, closes it, or writes a line with a number of seconds; or this process gets
SIGTERM: the command's process group gets the stop signal, after the grace the next one, at last SIGKILL. Whatever it
started and left behind goes too. Exits with the command's code (128 + N for signal N); 127 when it cannot be executed.
Run by path, before anything else is imported: standard library only, small, Python >= 3.11.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CANNOT_EXECUTE = 127
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lifeline", description="run a command bound to the life of a pipe")
    parser.add_argument("--fd", type=int, required=True, help="read end of the lifeline")
    parser.add_argument("--report", type=int, default=-1, help="where to write `pid N` and `exit N`")
    parser.add_argument("--stop", default="TERM", help="the first signal")
    parser.add_argument("--then", action="append", default=[], help="the signal after the grace; repeatable")
    parser.add_argument("--grace", type=float, default=5.0, help="seconds between signals")
    parser.add_argument("--uid", type=int, default=-1)
    parser.add_argument("--gid", type=int, default=-1)
    parser.add_argument("--limit", action="append", default=[], help="NAME=NUMBER, an rlimit such as data; repeatable")
    parser.add_argument("--cpus", type=int, default=0, help="processors that it may use; 0 for all")
    parser.add_argument("command", nargs="+")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    options = parse(argv)
    for fd in (options.fd, options.report):
        if fd >= 0:
            os.set_inheritable(fd, False)
    prctl = load_prctl()
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # what the command abandons comes to us, not to init
    wakeup, wakeup_write = os.pipe()
    for end in (wakeup, wakeup_write):
        os.set_blocking(end, False)
    for number in (*FORWARDED, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
    limits = find_limits(options.limit)
    os.get_exec_path()  # imports what execvp needs while we may still read it
    started, starting = os.pipe()  # closed by exec: from then on the command's own signal handling counts
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        become(options, parent, prctl, limits)
    os.close(starting)
    os.read(started, 1)
    report(options.report, f"pid {child}")
    signals = [signal_number(name) for name in (options.stop, *options.then)]
    code = watch(child, options.fd, wakeup, signals, options.grace)
    sweep(child)
    report(options.report, f"exit {code}")
    return code


def load_prctl() -> Callable[[int, int], int]:
    """Linux's prctl, loaded before the fork; elsewhere the supervisor's own sweep has to do."""
    if not sys.platform.startswith("linux"):
        return lambda *_: 0
    import ctypes

    prctl: Callable[[int, int], int] = ctypes.CDLL(None, use_errno=True).prctl
    return prctl


def find_limits(words: list[str]) -> Callable[[], None]:
    """What sets the limits of this process; loaded before the fork as well."""
    if not words:
        return lambda: None
    import resource

    pairs = [word.split("=") for word in words]
    wanted = [(getattr(resource, f"RLIMIT_{name.upper()}"), int(number)) for name, number in pairs]

    def limit() -> None:
        for which, number in wanted:
            resource.setrlimit(which, (number, number))

    return limit


def use_some(cpus: int) -> None:
    """Keep to so many processors; another choice for each process, so that not all of them share the first ones."""
    if cpus and hasattr(os, "sched_setaffinity"):
        every = sorted(os.sched_getaffinity(0))
        first = os.getpid() % len(every)
        os.sched_setaffinity(0, (every + every)[first : first + min(cpus, len(every))])


def signal_number(name: str) -> int:
    return int(signal.Signals["SIG" + name.removeprefix("SIG")])


def become(
    options: argparse.Namespace, parent: int, prctl: Callable[[int, int], int], limits: Callable[[], None]
) -> None:
    """In the child: a session of its own, its limits, the right uid, dead with its parent, then the command."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (*FORWARDED, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        use_some(options.cpus)
        limits()
        if options.gid >= 0:
            os.setgroups([])
            os.setgid(options.gid)
        if options.uid >= 0:
            os.setuid(options.uid)
        prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))  # after the uid: changing it clears this
        if os.getppid() != parent:
            os._exit(128 + signal.SIGKILL)
        os.execvp(options.command[0], options.command)  # noqa: S606 - argv as it was given
    except Exception as error:  # noqa: BLE001 - whatever it is, this is the only place to say it
        why = getattr(error, "strerror", None) or repr(error)
        sys.stderr.write(f"lifeline: cannot execute `{options.command[0]}`: {why}\n")
        sys.stderr.flush()
    finally:
        os._exit(CANNOT_EXECUTE)


def watch(child: int, lifeline: int, wakeup: int, signals: list[int], grace: float) -> int:
    """The command's exit code, once it has ended: by itself, or because the lifeline said so."""
    buffer = b""
    plan: Iterator[int] | None = None
    next_at = float("inf")
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return exit_code(status)
        reap(child)
        if plan is None:
            waiting = None
        else:
            waiting = max(0.0, next_at - time.monotonic())
            if waiting == 0.0:
                kill_group(child, next(plan, signal.SIGKILL))
                next_at = time.monotonic() + grace
                continue
        readable = wait_for([wakeup] if lifeline < 0 else [wakeup, lifeline], waiting)
        asked = wakeup in readable and any(number in FORWARDED for number in drain(wakeup))
        if lifeline >= 0 and lifeline in readable:
            data = os.read(lifeline, 256)
            buffer += data
            if not data:
                lifeline, asked = -1, True
            elif b"\n" in buffer:
                grace, buffer, asked = seconds(buffer, grace), b"", True
        if asked and plan is None:
            plan, next_at = iter(signals), 0.0


def wait_for(sources: list[int], waiting: float | None) -> list[int]:
    """Which descriptors have something to read; poll, for their numbers may be beyond what select can take."""
    poll = select.poll()
    for fd in sources:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(None if waiting is None else waiting * 1000)]


def seconds(line: bytes, default: float) -> float:
    try:
        return min(max(float(line.split(b"\n")[0]), 0.0), 3600.0)
    except ValueError:
        return default


def drain(fd: int) -> bytes:
    with contextlib.suppress(BlockingIOError):
        return os.read(fd, 4096)
    return b""


def exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def kill_group(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, number)


def reap(child: int) -> None:
    """Collect what was orphaned to us; the command itself is waited for by name."""
    for pid in orphans(child):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def orphans(child: int) -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:  # noqa: PTH123 - starts fast
            return [int(pid) for pid in file.read().split() if int(pid) != child]
    except OSError:
        return []


def sweep(child: int, bound: float = 5.0) -> None:
    """Kill what the command left: its group, and every descendant that came to us, until none is left."""
    kill_group(child, signal.SIGKILL)
    end = time.monotonic() + bound
    while time.monotonic() < end and (left := orphans(child)):
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def report(fd: int, line: str) -> None:
    if fd >= 0:
        with contextlib.suppress(OSError):
            os.write(fd, line.encode() + b"\n")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
