from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.wait import until

from dodai.agent import lifeline

PRINTS_SIGNALS = (
    "import signal, sys, time\n"
    "def note(number, _):\n"
    "    print(signal.Signals(number).name, flush=True)\n"
    "    if signal.Signals(number).name in sys.argv[1:]: raise SystemExit(7)\n"
    "for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT): signal.signal(number, note)\n"
    "print('up', flush=True)\n"
    "while True: time.sleep(1)\n"
)


class Shim:
    """A lifeline with a command, and the write end of its pipe."""

    def __init__(self, *command, options=(), groups=None):
        read, self.pipe = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", lifeline.__file__, "--fd", str(read), *options, "--", *command],
            pass_fds=(read,),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            extra_groups=groups,
        )
        os.close(read)

    def cut(self):
        os.close(self.pipe)
        self.pipe = -1

    def end(self):
        if self.pipe >= 0:
            self.cut()
        self.process.stdout.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def run():
    shims = []

    def start(*command, **more):
        shims.append(Shim(*command, **more))
        return shims[-1]

    yield start
    for shim in shims:
        shim.end()


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("command", "code"), [("exit 0", 0), ("exit 5", 5), ("kill -TERM $$", 143), ("kill -9 $$", 137)]
)
def test_the_exit_code_is_the_command_s(run, command, code):
    """128 + N for a signal, as a shell says it."""
    assert run("sh", "-c", command).process.wait(10) == code


def test_a_command_that_cannot_be_executed_is_127_with_its_name(run):
    """And the reason, where the output goes."""
    shim = run("/no/such/command")
    assert shim.process.wait(10) == 127
    assert "`/no/such/command`: No such file" in shim.process.stdout.read()


def test_the_end_of_the_pipe_is_the_end_of_the_command(run):
    """Whoever held it has died, without a chance to say so."""
    shim = run(sys.executable, "-c", PRINTS_SIGNALS, "SIGTERM")
    assert shim.process.stdout.readline() == "up\n"
    shim.cut()
    assert shim.process.wait(10) == 7
    assert shim.process.stdout.read() == "SIGTERM\n"


def test_signals_escalate_in_their_order_and_end_with_kill(run):
    """INT, after the grace QUIT, after the grace KILL."""
    options = ("--stop", "INT", "--then", "QUIT", "--grace", "0.5")
    shim = run(sys.executable, "-c", PRINTS_SIGNALS, options=options)
    assert shim.process.stdout.readline() == "up\n"
    shim.cut()
    assert shim.process.wait(10) == 137
    assert shim.process.stdout.read() == "SIGINT\nSIGQUIT\n"


def test_a_line_on_the_pipe_stops_with_another_grace(run):
    """The holder decides how long draining may take."""
    shim = run(sys.executable, "-c", PRINTS_SIGNALS, options=("--grace", "600"))
    assert shim.process.stdout.readline() == "up\n"
    os.write(shim.pipe, b"0.1\n")
    assert shim.process.wait(10) == 137


def test_sigterm_to_the_shim_stops_the_command(run):
    """A supervisor that only knows signals can use it too."""
    shim = run(sys.executable, "-c", PRINTS_SIGNALS, "SIGTERM")
    assert shim.process.stdout.readline() == "up\n"
    shim.process.terminate()
    assert shim.process.wait(10) == 7


def test_nothing_the_command_started_is_left(run):
    """Background processes, even in sessions of their own, go when the command has ended."""
    shim = run("sh", "-c", "sleep 600 & echo $!; setsid sleep 601 & echo $!; read x < /dev/null; exit 4")
    pids = [int(shim.process.stdout.readline()) for _ in range(2)]
    assert shim.process.wait(10) == 4
    assert not [pid for pid in pids if is_alive(pid)]


def test_killing_the_shim_kills_the_command(run):
    """The kernel sees to it (Linux)."""
    shim = run("sh", "-c", "echo $$; exec sleep 600")
    pid = int(shim.process.stdout.readline())
    shim.process.kill()
    until(lambda: not is_alive(pid))


def test_the_command_has_a_session_of_its_own(run):
    """Ctrl-C in the terminal of `dodai up` must not reach it before its turn."""
    shim = run(sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid(), flush=True)")
    assert shim.process.stdout.readline() == "True\n"


def test_the_command_inherits_neither_the_pipe_nor_blocked_signals(run):
    """Else it would keep its own lifeline open, or ignore Ctrl-C."""
    code = "import os, signal; print(len(os.listdir('/proc/self/fd')), signal.getsignal(signal.SIGTERM).name)"
    shim = run(sys.executable, "-c", code)
    assert shim.process.stdout.readline() == "4 SIG_DFL\n"  # stdin, stdout, stderr, and the listing itself


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_root_becomes_somebody_else_and_can_still_end_it(run):
    """User, group and no further groups; the death signal survives the change."""
    options = ("--uid", "65534", "--gid", "65533")
    shim = run("sh", "-c", "id -u; id -g; id -G; echo $$; exec sleep 600", options=options, groups=[7, 8])
    assert [shim.process.stdout.readline().strip() for _ in range(3)] == ["65534", "65533", "65533"]
    pid = int(shim.process.stdout.readline())
    shim.process.send_signal(signal.SIGKILL)
    until(lambda: not is_alive(pid))
