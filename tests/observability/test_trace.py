"""`dodai trace` over generated segments: the right lines, as a tree, naming the tier that failed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.command import dodai

from dodai.core.request import format_request_id
from dodai.observability.line_format import dump
from dodai.observability.segment import SegmentWriter, seal_all
from dodai.observability.trace import Tree, find, main
from dodai.observability.trace.show import render
from dodai.wiring.watch import lines_at

T0 = 1_795_000_000.0


def minted(seconds: float, seed: int = 1) -> str:
    return format_request_id(int((T0 + seconds) * 1000), random.Random(seed).getrandbits(74))


def entry(request_id: str, service: str, end: float, **fields: Any) -> dict[str, Any]:
    base = {"ts": T0 + end, "v": 1, "type": "http", "service": service, "requestId": request_id, "traceId": request_id}
    return {**base, "status": 200, "outcome": "ok", "latencyMs": 10.0, "method": "GET", "route": "/quiz", **fields}


def three_tiers(request_id: str, at: float = 0.0) -> list[dict[str, Any]]:
    """An edge, a web tier that calls a backend, whose database timed out."""
    return [
        entry(
            request_id, "backend", at + 0.03, type="rpc", rpc="quiz.Quiz/Answer", status="UNAVAILABLE",
            outcome="server_error", latencyMs=20.0, spanId="cccccccccccc0000", parentSpanId="bbbbbbbbbbbb0001",
            dbCount=3, dbMs=12.3, dependency="database", error="psycopg.OperationalError", userId="u-1",
        ),
        entry(
            request_id, "backend", at + 0.03, type="sql", operation="SELECT", outcome="server_error", latencyMs=9.0,
            spanId="cccccccccccc0003", parentSpanId="cccccccccccc0000", dependency="database",
        ),
        entry(
            request_id, "web", at + 0.035, status=503, outcome="server_error", latencyMs=30.0, userId="u-1",
            spanId="bbbbbbbbbbbb0000", parentSpanId="aaaaaaaaaaaa0000", rpcCount=1, rpcMs=21.0, dependency="backend",
        ),
        entry(request_id, "edge", at + 0.036, status=503, outcome="server_error", latencyMs=33.0, spanId="aaaaaaaaaaaa0000"),
    ]  # fmt: skip


def write(folder: Path, lines: list[dict[str, Any]], *, rotate: bool = False) -> SegmentWriter:
    writer = SegmentWriter(folder, "web", f"i{len(list(folder.glob('*')))}" if folder.exists() else "i0")
    for line in lines:
        assert writer.write(dump(line))
    if rotate:
        writer.rotate()
    return writer


def traffic(count: int, step: float = 0.01) -> list[dict[str, Any]]:
    return [entry(minted(index * step, index), "web", index * step) for index in range(count)]


@pytest.mark.parametrize("state", ["open", "closed", "sealed"])
@pytest.mark.parametrize("kind", ["minted", "foreign", "client", "trace"])
def test_id_is_found_in_every_kind_of_segment(tmp_path: Path, state: str, kind: str):
    """Minted, foreign, a client's own and a trace id; in open, closed and sealed segments."""
    folder = tmp_path / "lines"
    wanted = minted(30.0, 999) if kind == "minted" else "order-7788990011"
    real = wanted if kind in ("minted", "foreign") else minted(30.0, 998)
    special = entry(real, "web", 30.005)
    if kind == "client":
        special["clientRequestId"] = wanted
    if kind == "trace":
        wanted = special["traceId"] = "0af7651916cd43dd8448eb211c80319c"
    lines = [*traffic(3000), special, entry(real, "backend", 30.004, type="rpc", rpc="q.Q/A", status="OK")]
    writer = write(folder, sorted(lines, key=lambda line: line["ts"]), rotate=state != "open")
    if state == "sealed":
        assert seal_all(str(folder)) == 1
    found = find(wanted, [str(folder)])
    assert sorted(line["service"] for line in found.lines) == ["backend", "web"]
    assert {line["requestId"] for line in found.lines} == {real}
    writer.close()


def test_lookup_reads_only_the_time_of_the_id(tmp_path: Path):
    """Another request's line far away that merely mentions the id is not read; a direct match is."""
    folder = tmp_path / "lines"
    wanted = minted(10.0, 5)
    write(folder, [entry(wanted, "web", 10.0), *traffic(100, 60.0)][:50], rotate=True)
    assert len(find(wanted, [str(folder)]).lines) == 1


def test_request_that_ended_long_after_its_id_is_found(tmp_path: Path):
    """A WebSocket of an hour wrote its line an hour after its id was minted."""
    folder = tmp_path / "lines"
    wanted = minted(0.0, 7)
    write(folder, [*traffic(100), entry(wanted, "web", 3600.0, type="ws", status=101)], rotate=True)
    assert [line["type"] for line in find(wanted, [str(folder)]).lines] == ["ws"]


@pytest.mark.parametrize(("said", "found"), [("", 1), ('longest_request = "10m"', 2), ("# longest_request = '9h'", 1)])
def test_command_looks_as_long_as_the_manifest_says(tmp_path: Path, capsys: Any, said: str, found: int):
    """Three minutes after its id, a request of a project with long ones still wrote a line that belongs to it."""
    wanted = minted(0.0, 7)
    own = [entry(wanted, "web", 1.0), entry(wanted, "backend", 200.0, latencyMs=199_000.0)]
    lines = sorted([*own, *traffic(2000, 0.15)], key=lambda line: line["ts"])
    write(tmp_path / ".dodai" / "env" / "local" / "lines", lines)
    (tmp_path / "dodai.toml").write_text(f'[project]\nname = "x"\n\n[observability]\n{said}\n')
    assert main([wanted, "--json", "--state", str(tmp_path / ".dodai")], lines_at) == 0
    assert len(json.loads(capsys.readouterr().out)["lines"]) == found


def test_id_minted_by_a_wrong_clock_is_found(tmp_path: Path):
    """The time in an id is a hint: a clock one day off sends the bisection elsewhere, and everything is read."""
    folder = tmp_path / "lines"
    wanted = minted(86_400.0, 7)
    write(folder, [*traffic(2000), entry(wanted, "web", 25.0)], rotate=True)
    assert len(find(wanted, [str(folder)]).lines) == 1


def test_torn_and_foreign_lines_do_not_stop_a_lookup(tmp_path: Path):
    """Text of other programs, half a line, NUL bytes and other JSON stand between ours."""
    folder = tmp_path / "lines"
    folder.mkdir()
    wanted = minted(5.0, 3)
    parts = [dump(line) for line in traffic(400)]
    noise = [b"INFO: started\n", b'{"ts":17', b"\n\x00\x00\x00\n", b"[1,2]\n", b'{"level":"info"}\n', b"\xff\xfe\n"]
    mixed = [piece for index, part in enumerate(parts) for piece in (part, noise[index % len(noise)])]
    torn = dump(entry(wanted, "backend", 5.0))[:-40]
    (folder / "any.jsonl").write_bytes(
        b"".join(mixed[:700]) + torn + b"\n" + dump(entry(wanted, "web", 5.01)) + b"x" * 9000
    )
    found = find(wanted, [str(folder)])
    assert [line["service"] for line in found.lines] == ["web"]
    assert found.torn == 1


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 500, allow_nan=False), min_size=1, max_size=60), st.data())
def test_every_request_of_a_segment_is_found(tmp_path_factory: pytest.TempPathFactory, ends: list[float], data: Any):
    """Whatever the times, each id leads to its own line, by bisection and by sidecar alike."""
    folder = tmp_path_factory.mktemp("any") / "lines"
    ids = [minted(end, index) for index, end in enumerate(sorted(ends))]
    lines = [entry(wanted, "web", end + 0.01) for wanted, end in zip(ids, sorted(ends), strict=True)]
    writer = write(folder, lines)
    wanted = data.draw(st.sampled_from(ids))
    assert [line["requestId"] for line in find(wanted, [str(folder)]).lines] == [wanted]
    writer.rotate()
    seal_all(str(folder))
    assert [line["requestId"] for line in find(wanted, [str(folder)]).lines] == [wanted]


def test_tree_runs_from_the_edge_to_sql_and_names_the_failed_tier():
    """Callee below caller through call spans without lines of their own; the database is what failed."""
    request_id = minted(0)
    tree = Tree(three_tiers(request_id))
    (edge,) = tree.roots
    (web,) = edge.children
    (backend,) = web.children
    assert [edge.service, web.service, backend.service] == ["edge", "web", "backend"]
    assert backend.totals == [("sql", 3, 12.3)]
    assert tree.failure["tier"] == "database"
    assert tree.failure["seenBy"] == "backend"
    text = render(request_id, tree, 0, colour=False)
    assert "SQL 3 × 4.1 ms" in text
    assert text.splitlines()[-1].startswith("failed: database, seen by backend")


def test_tier_that_wrote_no_line_is_still_named():
    """A backend that was killed left nothing; its caller's line names it."""
    tree = Tree(three_tiers(minted(0))[2:])
    assert tree.failure["tier"] == "backend"
    assert tree.failure["seenBy"] == "web"


def test_refusal_is_no_failure():
    """A 403 of ours: refused, by whom, with which code."""
    line = entry(minted(0), "web", 0.1, status=403, outcome="client_error", code="DOD150", reason="token_missing")
    tree = Tree([line])
    assert tree.failure is None
    assert tree.refusal == {"service": "web", "code": "DOD150", "reason": "token_missing"}


def test_clock_that_is_ahead_is_shown_and_corrected():
    """A backend one hour ahead still hangs below its caller, with its skew."""
    lines = three_tiers(minted(0))
    for line in lines:
        if line["service"] == "backend":
            line["ts"] += 3600
    tree = Tree(lines)
    backend = tree.roots[0].children[0].children[0]
    assert 3599.9 < backend.skew_s < 3600.1
    assert "clock +3" in render("x" * 32, tree, 0, colour=False)
    assert 0 <= tree.as_json()[0]["children"][0]["children"][0]["startMs"] < 100


def test_orphan_and_attempts_are_roots_of_their_own():
    """Two attempts of a client are two trees; a hop whose caller's line is missing says so."""
    request_id = minted(0)
    lines = [
        entry(request_id, "web", 1, spanId="a" * 12 + "0000"),
        entry(request_id, "web", 2, spanId="b" * 12 + "0000", attempt=2),
        entry(request_id, "backend", 3, type="rpc", rpc="q.Q/A", spanId="c" * 12 + "0000", parentSpanId="d" * 16),
    ]
    tree = Tree(lines)
    assert [root.orphan for root in tree.roots] == [False, False, True]
    assert "caller's line missing" in render(request_id, tree, 0, colour=False)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "ts": st.one_of(st.floats(0, 2e9), st.text(max_size=3), st.none()),
                "spanId": st.sampled_from(["a" * 16, "b" * 12 + "0000", "b" * 12 + "0001", ""]),
                "parentSpanId": st.sampled_from(["a" * 16, "b" * 12 + "0000", "b" * 12 + "0001", 7]),
                "type": st.sampled_from(["http", "rpc", "sql", "task", "nonsense"]),
                "service": st.text(max_size=5),
                "outcome": st.sampled_from(["ok", "server_error", 3]),
                "latencyMs": st.one_of(st.floats(0, 1e6), st.text(max_size=3)),
                "dbCount": st.integers(0, 9),
                "dependency": st.text(max_size=4),
                "code": st.text(max_size=4),
                "stack": st.text(max_size=9),
            },
        ),
        max_size=8,
    )
)
def test_any_lines_render_to_one_row_each_without_control_characters(lines: list[dict[str, Any]]):
    """Cycles, missing fields, wrong types, escapes in names: a tree comes out, and it is plain text."""
    tree = Tree(lines)
    text = render("x" * 8, tree, 1, colour=False)
    assert all(char.isprintable() or char == "\n" for char in text)
    json.dumps(tree.as_json())
    count = 0
    stack = list(tree.roots)
    while stack:
        node = stack.pop()
        count += 1
        stack += node.children
    assert count == len(lines)


def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return dodai("trace", *words, **{"PYTHONIOENCODING": "utf-8", **environ})


def test_command_prints_the_tree_or_json(tmp_path: Path):
    """The process a person starts: text by default, `dodai.trace/1` with --json, no escapes in a pipe."""
    request_id = minted(0)
    write(tmp_path / "state" / "lines", three_tiers(request_id), rotate=True)
    text = run(request_id, "--state", str(tmp_path / "state"))
    assert text.returncode == 0
    assert [row.split()[0] for row in text.stdout.splitlines()[:2]] == ["request", "edge"]
    assert "\x1b" not in text.stdout
    body = json.loads(run(request_id, "--json", DODAI_STATE=str(tmp_path / "state")).stdout)
    assert body["schema"] == "dodai.trace/1"
    assert (body["failed"]["tier"], len(body["lines"]), body["unreadable"]) == ("database", 4, 0)
    ascii_only = run(request_id, f"--state={tmp_path / 'state'}", PYTHONIOENCODING="ascii")
    assert "SQL 3 x 4.1 ms" in ascii_only.stdout


def test_state_is_found_from_a_folder_below_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    """The nearest `.dodai` upwards, with the environments below it."""
    request_id = minted(0)
    write(tmp_path / ".dodai" / "local" / "lines", three_tiers(request_id), rotate=True)
    (tmp_path / "web").mkdir()
    monkeypatch.chdir(tmp_path / "web")
    monkeypatch.delenv("DODAI_STATE", raising=False)
    assert main([request_id], lines_at) == 0
    assert "edge" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["0123456789abcdef"], 1, "DOD481 trace-not-found"),
        ([], 2, "no request id"),
        (["short"], 2, "`short` is no request id"),
        (["a b\nc d e f g"], 2, "no request id"),
        (["0123456789", "0123456789"], 2, "a second one"),
        (["0123456789", "--nope"], 2, "unknown option `--nope`"),
        (["0123456789", "--state"], 2, "`--state` needs a value"),
        (["0123456789", "--for", "soon"], 2, "no number of seconds"),
    ],
)
def test_bad_input_gets_a_coded_error(tmp_path: Path, capsys: Any, words: list[str], code: int, said: str):
    """What is wrong, what to do; as the error envelope with --json."""
    assert main([*words, f"--state={tmp_path}"] if words[-1:] != ["--state"] else words, lines_at) == code
    error = capsys.readouterr().err
    assert said in error
    assert "fix: " in error
    as_json = [*words, "--json", f"--state={tmp_path}"] if words[-1:] != ["--state"] else ["--json", *words]
    assert main(as_json, lines_at) == code
    assert json.loads(capsys.readouterr().out)["exitCode"] == code


def test_follow_waits_for_lines_that_are_not_there_yet(tmp_path: Path):
    """The command is started first, the request comes later."""
    request_id = minted(0)
    state = tmp_path / "state"
    (state / "lines").mkdir(parents=True)
    argv = [sys.executable, "-m", "dodai", "trace", request_id, "--follow", "--state", str(state)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    write(state / "lines", three_tiers(request_id))
    assert process.stdout.readline().startswith(f"request {request_id}")
    process.terminate()
    process.wait()
    process.stdout.close()


def test_lookup_loads_the_standard_library_and_little_of_dodai():
    """The fast path imports neither orjson nor click nor dataclasses."""
    code = (
        "import sys; from dodai.observability.trace import main;"
        "print(sorted(n for n in sys.modules if n.split('.')[0] in ('orjson','click','dataclasses','pathlib','httpx2')"
        " or n.startswith('dodai')))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, 'src'); {code}"], capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == str(
        sorted(
            [
                "dodai",
                "dodai.core",
                "dodai.core.request",
                "dodai.observability",
                "dodai.observability.segment",
                "dodai.observability.segment.index",
                "dodai.observability.segment.seal",
                "dodai.observability.trace",
                "dodai.observability.trace.find",
                "dodai.observability.trace.tree",
            ]
        )
    )


def skewed(request_id: str, skew_s: float) -> list[list[dict[str, Any]]]:
    """A web tier's file and that of its backend, whose clock is off, each with other traffic around."""
    web, backend = [], []
    for second in range(-400, 401, 10):
        other = minted(second, seed=second + 1000)
        web.append(entry(other, "web", second))
        backend.append(entry(other, "backend", second + skew_s, type="rpc", rpc="quiz.Quiz/Get", status="OK"))
    web.append(entry(request_id, "web", 0.05, spanId="bbbbbbbbbbbb0000", rpcCount=1, rpcMs=6.0))
    backend.append(
        entry(
            request_id, "backend", 0.03 + skew_s, type="rpc", rpc="quiz.Quiz/Get", status="INTERNAL",
            outcome="server_error", spanId="cccccccccccc0000", parentSpanId="bbbbbbbbbbbb0001",
        )
    )  # fmt: skip
    return [sorted(lines, key=lambda line: line["ts"]) for lines in (web, backend)]


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("skew_s", [0.0, -3.0, -90.0, 50.0, 300.0, -3000.0])
def test_tier_whose_clock_is_off_is_found(tmp_path: Path, skew_s: float, sealed: bool):
    """The caller says how many callees there must be, so the search goes on until they are found."""
    request_id = minted(0)
    for lines in skewed(request_id, skew_s):
        path = tmp_path / f"{lines[0]['service']}-i-1-{int(lines[0]['ts'] * 1000):013d}.open.jsonl"
        path.write_bytes(b"".join(map(dump, lines)))
        if sealed:
            ends = f"{int(lines[0]['ts'] * 1000):013d}-{int(lines[-1]['ts'] * 1000) + 1:013d}"
            path.rename(tmp_path / f"{lines[0]['service']}-i-1-{ends}.jsonl")
    if sealed:
        assert seal_all(str(tmp_path)) == 2
    tree = Tree(find(request_id, [str(tmp_path)]).lines)
    assert [node.service for node in tree.nodes if node.failed] == ["backend"]
    assert tree.failure["tier"] == "backend"
    assert [node.silent for node in tree.nodes] == [0, 0]


def test_call_without_a_line_is_told(tmp_path: Path):
    """A tier that wrote nothing is a gap that is named, not one that looks like an end."""
    request_id = minted(0)
    write(tmp_path, [entry(request_id, "web", 0.05, spanId="bbbbbbbbbbbb0000", rpcCount=2, rpcMs=6.0)])
    found = find(request_id, [str(tmp_path)])
    assert "2 RPCs without a line" in render(request_id, Tree(found.lines), 0, colour=False)
    assert Tree(found.lines).as_json()[0]["rpcsWithoutLine"] == 2


def test_rotated_files_are_read_and_compressed_ones_named(tmp_path: Path, capsys: Any):
    """What was not looked into is said, whether something was found or not."""
    folder = tmp_path / "lines"
    folder.mkdir()
    request_id = minted(0)
    (folder / "web.jsonl.1").write_bytes(dump(entry(request_id, "web", 0.05)))
    for name in ("web.jsonl.2.gz", "web.log.gz", "notes.gz"):
        (folder / name).write_bytes(b"\x1f\x8b")
    assert main([request_id, "--state", str(tmp_path)], lines_at) == 0
    said = capsys.readouterr().out
    assert "web  GET /quiz" in said
    assert f"not read, because compressed: {folder}/web.jsonl.2.gz, {folder}/web.log.gz\n" in said
    assert main([minted(5), "--state", str(tmp_path)], lines_at) == 1
    assert f"not read, because compressed: `{folder}/web.jsonl.2.gz`" in capsys.readouterr().err


def test_lookup_opens_only_segments_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Seven days of eight processes are thousands of files: both ends of their names are looked at."""
    for hour in range(50):
        at = hour * 3600.0
        ends = f"{int((T0 + at) * 1000):013d}-{int((T0 + at + 3599) * 1000):013d}"
        (tmp_path / f"web-i-1-{ends}.jsonl").write_bytes(dump(entry(minted(at + 10, seed=hour), "web", at + 10)))
    seal_all(str(tmp_path))
    opened = []
    monkeypatch.setattr(sys.modules["dodai.observability.trace.find"], "_search", lambda path, *_: opened.append(path))
    find(minted(10 + 3600 * 20, seed=20), [str(tmp_path)])
    assert len(opened) == 1 + 50, "one of the time, then all because nothing was found there"


def test_prompt_is_back_before_a_large_file_is_sealed(tmp_path: Path):
    """Another process does it, so that nobody waits; afterwards the sidecar is there."""
    folder = tmp_path / "lines"
    folder.mkdir()
    request_id = minted(0)
    (folder / "foreign.jsonl").write_bytes(dump(entry(request_id, "web", 0.05)) * 1000)
    command = [sys.executable, "-m", "dodai", "trace", request_id, "--state", str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    deadline = time.monotonic() + 30
    while not (folder / "foreign.jsonl.ids").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_sealed_segments_without_a_line_of_the_request_are_not_opened(tmp_path: Path):
    """A foreign id may stand in any of thousands; each one is asked by its sidecar alone."""
    folder = tmp_path / "lines"
    for index in range(20):
        write(folder, [entry(minted(index * 60.0, index), "web", index * 60.0)], rotate=True)
    write(folder, [entry("order-7788990011", "web", 400.0)], rotate=True)
    assert seal_all(str(folder)) == 21
    code = """
import sys
from dodai.observability.trace import find
opened = []
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
found = find("order-7788990011", [sys.argv[1]])
print(len(found.lines), sum(path.endswith(".jsonl") for path in opened), sum(path.endswith(".ids") for path in opened))
"""
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1", "21"], "one segment, and every sidecar once"


@pytest.mark.parametrize("count", [1, 9000])
def test_foreign_file_that_grew_after_it_was_sealed_is_read(tmp_path: Path, count: int):
    """Its sidecar no longer fits, whether it is read whole or mapped."""
    folder = tmp_path / "lines"
    folder.mkdir()
    path = folder / "api.jsonl"
    path.write_bytes(b"".join(dump(entry(f"order-{index:08d}", "api", index)) for index in range(count)))
    assert seal_all(str(folder)) == 1
    assert len(find(f"order-{count - 1:08d}", [str(folder)]).lines) == 1
    with path.open("ab") as file:
        file.write(dump(entry("order-late0000", "api", count)))
    assert len(find("order-late0000", [str(folder)]).lines) == 1
