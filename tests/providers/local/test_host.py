from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import sys
import time
from dataclasses import replace

import httpx2
import pytest
from tests.support.wait import until_async

from dodai.core.errors import DodaiError
from dodai.operations.ports import EdgeSpec, Fault, ProcessSpec, ServiceSpec
from dodai.providers.local.host import client, open_host
from dodai.providers.local.host.__main__ import unsealed
from dodai.providers.local.host.state import StateFolder, read_known

from .conftest import marked, parent_of, spec, start_time, text_of


async def get(url, path="/", **more):
    async with httpx2.AsyncClient(timeout=10) as http:
        return await http.get(url + path, **more)


async def connections(host):
    return (await host.status()).service("web").instances[0].connections


async def draining(host):
    return (await host.status()).service("web").instances[0].state == "draining"


async def test_service_that_was_ready_too_seldom_when_time_is_over_is_not_ready(host, serving):
    """One that answers now and then must not be taken for healthy because its last answer was good."""
    await serving("r1")
    seldom = await host.probe("web", "r1", wait_s=0, consecutive=2)
    assert (seldom.state, seldom.ready) == ("not_ready", False)
    assert seldom.detail == "ready, but not often enough in a row"
    assert (await host.probe("web", "r1", wait_s=20, consecutive=2)).ready


async def test_two_releases_run_side_by_side_and_the_stable_address_leads_to_the_switched_one(host, tree, serving):
    """Starting a release changes nothing for visitors; switching does."""
    await serving("r1")
    address = "http://" + await host.address("web")
    await host.start(spec(), "r2", str(tree), {})
    assert (await host.probe("web", "r2", wait_s=10)).version == "r2"
    assert (await get(address)).json()["release"] == "r1"
    await host.switch("web", "r2")
    assert (await get(address)).json()["release"] == "r2"
    await host.stop("web", "r1")
    status = (await host.status()).service("web")
    assert [one.release for one in status.instances] == ["r2"]
    assert status.release == "r2"


async def test_every_call_may_be_repeated(host, tree, serving):
    """The second start, switch, stop and down find it done already."""
    await serving("r1")
    again = await host.start(spec(), "r1", str(tree), {})
    await host.switch("web", "r1")
    assert again.pid == (await host.status()).service("web").instances[0].pid
    await host.stop("web", "r1")
    await host.stop("web", "r1")
    assert (await host.probe("web", "r1")).state == "absent"
    await host.down()
    await host.down()
    assert not (await host.status()).running


async def test_a_release_that_runs_with_other_settings_is_refused(host, tree, serving):
    """One name for two configurations would hide which of them serves."""
    await serving("r1")
    with pytest.raises(DodaiError) as caught:
        await host.start(spec(), "r1", str(tree), {"OTHER": "1"})
    assert caught.value.code.id == "DOD394"


async def test_an_exit_at_boot_is_seen_at_once_with_the_last_output(host, tree):
    """Nobody waits for the health check of a process that is gone."""
    (tree / "exit-at-boot").touch()
    await host.start(spec(), "r1", str(tree), {})
    probe = await asyncio.wait_for(host.probe("web", "r1", wait_s=600), 20)
    assert (probe.state, probe.exit_code) == ("exited", 3)
    assert probe.output[-1] == "cannot start: no such setting"


async def test_a_command_that_does_not_exist_is_an_exit_with_its_name(host, tree):
    """127, and the shim says which command it was."""
    await host.start(ServiceSpec(name="web", command=("no-such-program",)), "r1", str(tree), {})
    probe = await host.probe("web", "r1", wait_s=20)
    assert (probe.state, probe.exit_code) == ("exited", 127)
    assert "`no-such-program`" in probe.output[-1]


async def test_a_service_that_never_listens_ends_the_wait_in_time(host, tree):
    """The probe says what it saw and how a service learns its port; the process is left for the caller to stop."""
    (tree / "no-listen").touch()
    await host.start(spec(), "r1", str(tree), {})
    probe = await host.probe("web", "r1", wait_s=0.3)
    assert probe.state == "no_answer"
    assert "nothing listens on the port" in probe.detail
    await host.stop("web", "r1", 0.2)


async def test_an_unready_service_says_which_dependency_it_misses(host, tree):
    """503 with a JSON body is an answer, not an error."""
    (tree / "not-ready").touch()
    await host.start(spec(), "r1", str(tree), {})
    await until_async(lambda: host.tail("web", "r1"))
    probe = await host.probe("web", "r1")
    assert probe.state == "not_ready"
    assert dict(probe.dependencies) == {"db": "down"}
    assert "`db` down" in probe.detail


async def test_switching_to_what_does_not_run_is_refused_and_changes_nothing(host, tree, serving):
    """Traffic is never sent to nothing."""
    await serving("r1")
    with pytest.raises(DodaiError) as caught:
        await host.switch("web", "r9")
    assert (caught.value.code.id, caught.value.fix) == ("DOD393", "")  # the plan's own next command is all there is
    assert (await host.status()).service("web").release == "r1"


async def test_a_crashed_service_is_started_again_and_reported(host, serving):
    """The stable address leads to the new process; status counts the restart."""
    await serving("r1")
    address = "http://" + await host.address("web")
    first = (await host.status()).service("web").instances[0].pid
    await host.signal("web", "KILL")
    assert (await host.probe("web", "r1", wait_s=10)).ready or (await host.probe("web", "r1", wait_s=10)).ready
    instance = (await host.status()).service("web").instances[0]
    assert instance.restarts == 1
    assert instance.pid != first
    assert (await get(address)).status_code == 200


async def test_requests_under_way_finish_before_the_old_release_ends(host, tree, serving):
    """Switch, then stop: the slow answer of the old release arrives whole."""
    await serving("r1")
    address = "http://" + await host.address("web")
    slow = asyncio.ensure_future(get(address, "/slow?s=0.5"))
    await until_async(lambda: connections(host))
    await host.start(spec(), "r2", str(tree), {})
    await host.probe("web", "r2", wait_s=10)
    await host.switch("web", "r2")
    await host.stop("web", "r1", 10)
    assert (await slow).text == "r1"


async def test_a_connection_made_before_the_stop_is_served_before_sigterm(host, tree, serving):
    """A server that ends at once on SIGTERM loses nothing: it is not told before the last visitor is done."""
    (tree / "exit-on-term").touch()
    await serving("r1")
    port = int((await host.address("web")).rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await until_async(lambda: connections(host))
    stopping = asyncio.ensure_future(host.stop("web", "r1", 10))
    await until_async(lambda: draining(host))
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    await stopping


async def test_a_service_that_ignores_sigterm_is_killed_when_its_drain_is_over(host, tree, serving):
    """A bound is a bound."""
    (tree / "ignore-term").touch()
    await serving("r1")
    pid = (await host.status()).service("web").instances[0].pid
    await asyncio.wait_for(host.stop("web", "r1", 0.2), 20)
    assert start_time(pid) is None


async def test_swapping_releases_under_load_loses_no_request(host, tree, serving):
    """Both ways, a third of the requests POSTs: every answer is 2xx and every POST arrived once."""
    await serving("r1")
    url = await host.edge(EdgeSpec(routes=(("/", "web"),)))
    statuses, releases, stop = [], set(), asyncio.Event()

    async def visit(number):
        async with httpx2.AsyncClient(timeout=20) as http:
            while not stop.is_set():
                post = len(statuses) % 3 == 0
                answer = await (http.post(url + "/slow-post", content=b"x" * 100) if post else http.get(url + "/"))
                statuses.append((answer.status_code, post))
                if answer.status_code == 200:
                    releases.add(answer.json()["release"])

    visitors = [asyncio.ensure_future(visit(number)) for number in range(6)]
    for old, new in (("r1", "r2"), ("r2", "r3"), ("r3", "r1")):
        await host.start(spec(), new, str(tree), {})
        assert (await host.probe("web", new, wait_s=20)).ready
        seen = len(statuses)
        await until_async(lambda seen=seen: len(statuses) >= seen + 30)
        await host.switch("web", new)
        await host.stop("web", old, 10)
    seen = len(statuses)
    await until_async(lambda: len(statuses) >= seen + 30)
    stop.set()
    await asyncio.gather(*visitors)
    assert {status for status, _ in statuses} == {200}
    assert releases == {"r1", "r2", "r3"}
    assert len((tree / "posts").read_text().splitlines()) == sum(post for _, post in statuses)


async def test_killing_the_host_leaves_no_child_and_the_next_one_starts_clean(tmp_path, tree):
    """kill -9: lifelines end what it ran; a new host takes the folder and its ports."""
    folder = tmp_path / "env"
    host = await open_host(folder, "test", detached=True)
    # a service that itself starts processes, one of them in a session of its own
    shell = ServiceSpec(name="web", command=("sh", "-c", "sleep 600 & setsid sleep 601 & exec sleep 602"))
    await host.start(shell, "r1", str(tree), {})
    await host.run(ProcessSpec(name="other", command=("sleep", "603")))
    status = await host.status()
    await until_async(lambda: len(marked(folder)) >= 6)
    children = {pid: start_time(pid) for pid in marked(folder)}
    os.kill(status.pid, signal.SIGKILL)
    await until_async(
        lambda: all(start_time(pid) != began for pid, began in children.items()), "the end of all children"
    )
    assert not (await host.status()).running
    again = await open_host(folder, "test", detached=True)
    assert (await again.status()).running
    assert await again.address("web") == status.service("web").address
    await again.down()


@pytest.mark.parametrize("moment_s", [0.0, 0.01, 0.05])
async def test_a_host_killed_in_the_middle_of_its_work_leaves_nothing_behind(tmp_path, tree, moment_s):
    """Whatever it was doing: calls end with an error of ours, every child ends, the next host does the work."""
    folder = tmp_path / "env"
    host = await open_host(folder, "test", detached=True)
    pid = (await host.status()).pid

    async def work():
        for number in range(100):
            await host.start(spec(), f"r{number}", str(tree), {})
            await host.switch("web", f"r{number}")
            await host.stop("web", f"r{number - 1}", 0.2)

    working = asyncio.ensure_future(work())
    await until_async(lambda: marked(folder))
    await asyncio.sleep(moment_s)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(DodaiError) as caught:
        await working
    assert caught.value.code.id == "DOD398"
    again = await open_host(folder, "test", detached=True)
    assert {start_time(one) for one in marked(folder)} <= {start_time((await again.status()).pid)}
    await again.start(spec(), "r1", str(tree), {})
    assert (await again.probe("web", "r1", wait_s=10)).ready
    await again.down()
    assert not marked(folder)


async def test_what_survives_its_host_and_its_shim_is_ended_by_the_next_host(tmp_path, tree):
    """A grandchild in a session of its own, with nobody left to watch it, is recognised by its mark."""
    folder = tmp_path / "env"
    host = await open_host(folder, "test", detached=True)
    shell = ServiceSpec(name="web", command=("sh", "-c", "setsid sleep 606 & exec sleep 602"))
    instance = await host.start(shell, "r1", str(tree), {})
    shim = parent_of(instance.pid)

    def strays():
        return [one for one in marked(folder) if text_of(f"/proc/{one}/cmdline") == "sleep\x00606\x00"]

    stray = (await until_async(strays))[0]
    pid = (await host.status()).pid
    for victim, number in ((shim, signal.SIGSTOP), (pid, signal.SIGKILL), (shim, signal.SIGKILL)):
        os.kill(victim, number)  # stopped first, for the shim would be quick to clean up after its host
    await until_async(lambda: {one for one in marked(folder) if start_time(one)} == {stray})
    again = await open_host(folder, "test", detached=True)
    assert start_time(stray) is None
    await again.down()


async def test_killing_the_shim_ends_the_service_it_held(host, tree):
    """The kernel, or the host, ends what the shim can no longer watch."""
    shell = ServiceSpec(name="web", command=("sh", "-c", "sleep 600 & exec sleep 602"))
    instance = await host.start(shell, "r1", str(tree), {})
    await until_async(lambda: len(marked(host.folder.path)) >= 3)
    children = {pid: start_time(pid) for pid in marked(host.folder.path)}
    os.kill(parent_of(instance.pid), signal.SIGKILL)
    await until_async(
        lambda: all(start_time(pid) != began for pid, began in children.items()), "the end of all children"
    )
    assert (await host.probe("web", "r1", wait_s=10)).state == "exited"


async def test_a_bound_host_ends_with_the_process_it_is_bound_to(tmp_path):
    """A rehearsal that is killed with -9 leaves nothing running."""
    folder = tmp_path / "env"
    script = (
        "import asyncio, sys, time, pathlib\n"
        "from dodai.providers.local.host import open_host\n"
        "from dodai.operations.ports import ProcessSpec\n"
        "async def main():\n"
        "    host = await open_host(pathlib.Path(sys.argv[1]), 'test', detached=False)\n"
        "    await host.run(ProcessSpec(name='other', command=('sleep', '604')))\n"
        "    print('up', flush=True)\n"
        "    time.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(folder), stdout=asyncio.subprocess.PIPE
    )
    assert await process.stdout.readline() == b"up\n"
    pid = read_known(StateFolder(folder)).pid
    children = marked(folder) | {pid}
    process.kill()
    await process.wait()
    await until_async(lambda: all(start_time(one) is None for one in children), "the end of host and children")
    assert not StateFolder(folder).socket.exists()


async def test_a_second_host_is_refused_with_the_holder_and_75(host):
    """Two hosts in one folder would fight over everything in it."""
    with pytest.raises(DodaiError) as caught:
        await open_host(host.folder.path, "test", detached=False)
    error = caught.value
    assert (error.code.id, error.exit_code) == ("DOD397", 75)
    assert f"`{(await host.status()).pid}`" in error.message
    assert "dodai down test" in error.fix


async def test_a_detached_host_is_found_again_and_outlives_its_starter(tmp_path):
    """`deploy` after `deploy` talks to the same host."""
    first = await open_host(tmp_path / "env", "test", detached=True)
    second = await open_host(tmp_path / "env", "test", detached=True)
    assert (await first.status()).pid == (await second.status()).pid
    assert not (await first.status()).bound
    await second.down()


async def test_many_who_start_a_host_at_once_get_the_same_one(tmp_path):
    """Two deploys from two terminals."""
    hosts = await asyncio.gather(*(open_host(tmp_path / "env", "test", detached=True) for _ in range(4)))
    assert len({(await one.status()).pid for one in hosts}) == 1
    await hosts[0].down()


async def test_a_port_in_use_is_refused_with_its_holder(host, tree):
    """The message names the process, because the fix is to stop it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DodaiError) as caught:
            await host.start(spec(port=port), "r1", str(tree), {})
    assert caught.value.code.id == "DOD395"
    assert f"`{port}`" in caught.value.message
    assert f"pid {os.getpid()}" in caught.value.message


async def test_a_process_is_waited_for_until_it_listens(host):
    """`run` returns once its unix socket accepts, and again at once."""
    path = host.folder.socket.with_suffix(".test")
    code = f"import socket,time; s=socket.socket(socket.AF_UNIX); s.bind({str(path)!r}); s.listen(); time.sleep(600)"
    process = ProcessSpec(name="db", command=(sys.executable, "-c", code), listens=str(path))
    first = await host.run(process)
    assert (await host.run(process)).pid == first.pid
    await host.end("db")
    await host.end("db")
    path.unlink()
    assert not (await host.status()).processes


async def test_a_process_that_exits_or_never_listens_is_an_error_with_its_output(host):
    """DOD390 for the first, DOD391 for the second; neither is left running."""
    code = "print('no config', flush=True); raise SystemExit(1)"
    with pytest.raises(DodaiError) as caught:
        await host.run(ProcessSpec(name="db", command=(sys.executable, "-c", code), listens="127.0.0.1:1"))
    assert (caught.value.code.id, caught.value.details) == ("DOD390", ("no config",))
    with pytest.raises(DodaiError) as caught:
        await host.run(
            ProcessSpec(name="mute", command=("sleep", "605"), listens="127.0.0.1:1", ready_timeout_s=0.2, grace_s=1)
        )
    assert caught.value.code.id == "DOD391"
    assert not any(one.pid for one in (await host.status()).processes)


async def test_stop_signals_come_in_their_order(host, tmp_path):
    """PostgreSQL wants INT, and QUIT when that takes too long."""
    code = (
        "import os,signal,time\n"  # one write for a line: a signal between two would tear it
        "signal.signal(signal.SIGINT, lambda *_: os.write(1, b'INT\\n'))\n"
        "signal.signal(signal.SIGQUIT, lambda *_: (os.write(1, b'QUIT\\n'), exit(0)))\n"
        "os.write(1, b'up\\n')\n"
        "while True: time.sleep(1)\n"
    )
    process = ProcessSpec(name="db", command=(sys.executable, "-c", code), stop=("INT", "QUIT"), grace_s=1.0)
    log = (await host.run(process)).log
    await until_async(lambda: host.tail("db"))
    await host.end("db")
    assert text_of(log).split() == ["up", "INT", "QUIT"]


async def test_the_socket_and_the_key_are_for_this_user_alone(host):
    """Whoever can reach the socket can run programs as this user."""
    await host.edge(EdgeSpec(routes=()))
    for path, mode in ((host.folder.socket, 0o600), (host.folder.edge_key, 0o600), (host.folder.socket.parent, 0o700)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert len(os.fsencode(host.folder.socket)) < 100


async def test_a_secret_given_to_a_service_is_in_no_argv_and_no_file(host, tree):
    """Values travel over the socket into the environment of the service, nowhere else."""
    await host.start(spec(), "r1", str(tree), {"SESSION_SECRET": "s3cret-value-of-this-test"})
    await host.probe("web", "r1", wait_s=10)
    for pid in marked(host.folder.path):
        assert "s3cret" not in text_of(f"/proc/{pid}/cmdline")
    for path in host.folder.path.rglob("*"):
        assert not path.is_file() or b"s3cret" not in path.read_bytes(), path


async def test_a_secret_that_a_service_prints_is_hidden_in_its_log(host, tree):
    """Values under telling names, the keys of a ring and the password of a URL; in pieces, too."""
    code = (
        "import os, time\n"
        "text = ' '.join(os.environ[n] for n in ('SESSION_SECRET', 'DODAI_CSRF_KEYS', 'DATABASE_URL'))\n"
        "for part in (text[:9], text[9:40], text[40:] + chr(10), text): print(part, end='', flush=True)\n"
    )
    secrets = {
        "SESSION_SECRET": "correct-horse-battery",
        "DODAI_CSRF_KEYS": "k1:first-ring-key,k2:second-ring-key",
        "DATABASE_URL": "postgresql://app:p%40ssw0rd-x@127.0.0.1/app",
    }
    await host.start(ServiceSpec(name="web", command=(sys.executable, "-c", code)), "r1", str(tree), secrets)
    assert (await host.probe("web", "r1", wait_s=10)).state == "exited"
    output = await host.tail("web", "r1")
    assert len(output) == 2
    assert output[0] == output[1]
    assert "postgresql://app:[secret]@127.0.0.1/app" in output[0]
    log = text_of(host.folder.path / "logs" / "web-r1.log")
    assert not any(word in log for word in ("horse", "ring-key", "ssw0rd"))


async def test_a_host_that_hangs_is_brought_down_all_the_same(tmp_path, tree):
    """Frozen, it answers nobody; its id and start time say which process to end."""
    folder = tmp_path / "env"
    host = await open_host(folder, "test", detached=True)
    await host.start(spec(), "r1", str(tree), {})
    pid = (await host.status()).pid
    os.kill(pid, signal.SIGSTOP)
    await replace(host, patience_s=0.2).down()
    assert start_time(pid) is None
    assert not marked(folder)
    assert not (await host.status()).running


async def test_an_address_once_given_does_not_change_under_its_users(host, tree, serving):
    """Another port for a running service or edge is refused; the same one is fine."""
    await serving("r1")
    url = await host.edge(EdgeSpec(routes=(("/", "web"),)))
    port = int(url.rpartition(":")[2])
    assert await host.edge(EdgeSpec(routes=(("/", "web"),), port=port)) == url
    for call in (host.edge(EdgeSpec(routes=(), port=port + 1)), host.address("web", port + 1)):
        with pytest.raises(DodaiError) as caught:
            await call
        assert caught.value.code.id == "DOD394"


async def test_ports_are_kept_from_one_host_to_the_next(host, tree, serving):
    """A bookmark of the development site, or a client's configuration, stays right."""
    await serving("r1")
    before = (await host.edge(EdgeSpec(routes=(("/", "web"),))), await host.address("web"))
    await host.down()
    again = await open_host(host.folder.path, "test", detached=False)
    assert (await again.edge(EdgeSpec(routes=(("/", "web"),))), await again.address("web")) == before
    await again.down()


async def test_a_release_that_exited_can_be_started_again(host, tree):
    """Its files were fixed, or its dependency is back."""
    (tree / "exit-at-boot").touch()
    await host.start(spec(), "r1", str(tree), {})
    assert (await host.probe("web", "r1", wait_s=10)).state == "exited"
    (tree / "exit-at-boot").unlink()
    await host.start(spec(), "r1", str(tree), {})
    assert (await host.probe("web", "r1", wait_s=10)).ready


async def test_a_call_the_host_does_not_know_or_cannot_read_does_not_end_it(host):
    """A client of another version, or a broken one."""
    for line in (b'{"id": 1, "call": "__init__", "args": {}}\n', b'{"id": 1, "call": "switch", "args": {}}\n', b"{\n"):
        reader, writer = await asyncio.open_unix_connection(str(host.folder.socket))
        writer.write(line)
        writer.write_eof()
        answer = await reader.read()
        assert b'"error"' in answer or answer == b""
        writer.close()
    assert (await host.status()).running


async def test_full_segments_of_lines_are_sealed_by_the_host(host):
    """A closed segment gets its sidecar without anybody asking."""
    lines = host.folder.path / "lines"
    lines.mkdir()
    segment = lines / "web-a-1795465990000-1795465991000.jsonl"
    segment.write_text('{"ts":1795465990.5,"requestId":"01a20a1cd07b789daba2669110a2f1f4"}\n')
    (lines / "web-a.open.jsonl").write_text("")
    await until_async(segment.with_name(segment.name + ".ids").exists)
    await until_async(lambda: not unsealed(lines))


async def test_an_older_fencing_token_changes_nothing(host, tree, serving):
    """An operator who was paused wakes up after somebody else took over."""
    await serving("r1")
    await host.under(7).switch("web", "r1")
    with pytest.raises(DodaiError) as caught:
        await host.under(6).stop("web", "r1")
    assert caught.value.code.id == "DOD399"
    status = await host.under(6).status()
    assert (status.fencing_token, status.service("web").release) == (7, "r1")
    await host.down()
    again = await open_host(host.folder.path, "test", detached=False)
    with pytest.raises(DodaiError):
        await again.under(6).address("web")
    await again.down()


async def test_a_call_without_a_host_says_that_it_is_gone(tmp_path):
    """DOD398, quickly, with what to do."""
    nobody = client(tmp_path / "env", "test")
    with pytest.raises(DodaiError) as caught:
        await nobody.switch("web", "r1")
    assert caught.value.code.id == "DOD398"
    assert not (await nobody.status()).running


async def test_output_is_kept_within_bounds(host, tree):
    """A chatty service fills neither the disk nor the memory, and its last line is at hand."""
    code = "import sys\nfor n in range(120000): print('x' * 100, n)\nsys.stdout.flush()"
    await host.start(ServiceSpec(name="web", command=(sys.executable, "-c", code)), "r1", str(tree), {})
    assert (await host.probe("web", "r1", wait_s=30)).state == "exited"
    assert (await host.tail("web", "r1", 1))[0].endswith(" 119999")
    assert sum(path.stat().st_size for path in (host.folder.path / "logs").iterdir()) <= 2 * 4 * 1024 * 1024 + 65536


async def test_needed_services_outlive_those_that_need_them(host, tree):
    """`down` stops the web tier before the backend, and both before the database."""
    order = tree / "order"

    def noted(name):
        return ("sh", "-c", f"trap 'echo {name} >> {order}; exit 0' TERM; while :; do sleep 0.05; done")

    await host.run(ProcessSpec(name="db", command=noted("db")))
    await host.start(ServiceSpec(name="backend", command=noted("backend")), "r1", str(tree), {})
    await host.start(ServiceSpec(name="web", command=noted("web"), needs=("backend",)), "r1", str(tree), {})
    await until_async(lambda: len(marked(host.folder.path)) >= 9)
    await host.down()
    assert order.read_text().split() == ["web", "backend", "db"]


async def test_faults_stand_between_the_stable_address_and_the_service(host, serving):
    """The health check on the private port sees none of them."""
    await serving("r1")
    address = "http://" + await host.address("web")
    await host.fault("web", Fault(mode="refuse"))
    with pytest.raises(httpx2.ConnectError):
        await get(address)
    assert (await host.probe("web", "r1")).ready
    assert (await host.status()).service("web").fault == "refuse"
    await host.fault("web", Fault())
    assert (await get(address)).status_code == 200


async def test_edge_sends_nothing_more_to_where_traffic_went_before(host, tree, serving):
    """Neither a switch nor a fault leaves it a connection of before; the service would have kept it."""
    await serving("r1")
    url = await host.edge(EdgeSpec(routes=(("/", "web"),), connect_timeout_s=0.3, response_timeout_s=30.0))
    async with httpx2.AsyncClient(timeout=60) as http:
        assert (await http.get(url + "/")).json()["release"] == "r1"
        await host.start(spec(), "r2", str(tree), {})
        assert (await host.probe("web", "r2", wait_s=20)).ready
        assert (await http.get(url + "/")).json()["release"] == "r1"
        await host.switch("web", "r2")
        assert (await http.get(url + "/")).json()["release"] == "r2"
        await host.fault("web", Fault(mode="blackhole"))
        assert (await http.get(url + "/")).status_code == 504
    lines, reason = host.folder.path / "lines", '"reason":"connect_timeout"'  # of before: `upstream_timeout`
    await until_async(lambda: any(reason in file.read_text() for file in lines.glob("edge-*")))


async def test_down_within_a_bound_although_a_client_stays_connected(host, serving):
    """An idle connection does not hold the environment up."""
    await serving("r1", drain_s=0.5)
    url = await host.edge(EdgeSpec(routes=(("/", "web"),)))
    _reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    began = time.monotonic()
    await asyncio.wait_for(host.down(), 30)
    assert time.monotonic() - began < 30
    writer.close()
