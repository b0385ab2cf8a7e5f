"""Documents of secrets as strangers write them, and programs and files that keep them: what is of no use is refused."""

from __future__ import annotations

import json
import os
import signal
import sys

import pyrage
import pytest
from tests.end_to_end.hosted_app import HostedApp

from dodai.core.errors import DodaiError
from dodai.operations.secret_document import DocumentStore, document_of
from dodai.providers.age.age_file import AgeFile
from dodai.providers.local.secret_file import SecretFile
from dodai.providers.secret_command.command_store import CommandDocument

CANARY = "canary-40b7d1f2"
AGENT = """
import os, sys, time
from pathlib import Path
if os.fork() == 0:
    os.setsid()  # as gpg-agent and the daemons of password managers do, its output still open
    Path(sys.argv[1]).write_text(str(os.getpid()))
    time.sleep(6)
    os._exit(0)
print('{"A": "value"}')
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"A": "one", "A": "%s"}', "two values under one name"),
        ('[{"key": "A", "value": "one"}, {"key": "A", "value": "%s"}]', "two values under one name"),
        ('[{"key": "A", "value": {"A": "%s"}}]', "names and texts"),
        (r'{"A": "%s \ud800"}', "names and texts"),
        ('{"A": 5, "B": "%s"}', "names and texts"),
        ('"%s"', "names and texts"),
        ('["%s"]', "no `key` and `value`"),
        ("[" * 200_000, "no JSON"),
    ],
)
def test_document_that_leaves_a_value_open_is_refused_without_a_word_of_it(text, said):
    """Two values of one name, half a character, another type: nobody guesses which value is meant."""
    with pytest.raises(DodaiError) as refused:
        document_of(text.replace("%s", CANARY).encode(), "it")
    assert (refused.value.code.id, said in refused.value.message) == ("DOD563", True), refused.value.message
    assert CANARY not in f"{refused.value.message}{refused.value.fix}"


def test_agent_that_a_program_leaves_behind_is_not_waited_for(tmp_path):
    """The program has ended and its answer is whole, though somebody else still holds its output."""
    (tmp_path / "store.py").write_text(AGENT)
    agent = tmp_path / "agent"
    document = CommandDocument((sys.executable, "store.py", str(agent)), (), tmp_path, deadline_s=4.0)
    try:
        assert document.read() == {"A": "value"}
    finally:
        os.kill(int(agent.read_text()), signal.SIGKILL)


def test_large_document_reaches_a_program_that_answers_before_it_reads(tmp_path):
    """Neither waits for the other, and what was given arrives whole."""
    source = "import sys; sys.stdout.write('x' * 300000); sys.stdout.flush(); open('got', 'wb').write(sys.stdin.buffer.read())"
    writing = (sys.executable, "-c", source)
    values = {"A": "é" * 200_000}
    CommandDocument(("-",), writing, tmp_path).write(values)
    assert json.loads((tmp_path / "got").read_text()) == values


def test_store_that_answers_with_nothing_is_not_written_over(tmp_path):
    """Signed out, many print an empty document: no look writes into it, and no value is put where the others were."""
    kept = tmp_path / "kept.json"
    reading = (sys.executable, "-c", f"print(open({str(kept)!r}).read())")
    writing = (sys.executable, "-c", f"import sys; open({str(kept)!r}, 'w').write(sys.stdin.read())")
    kept.write_text(json.dumps({"A": CANARY}))
    store = DocumentStore(CommandDocument(reading, writing, tmp_path), "staging", tmp_path / "state")
    before = (dict(store.versions()), store.digest({"A": CANARY}))
    assert json.loads(kept.read_text()) == {"A": CANARY}
    store.put({**store.get(), "B": "more"})
    assert (store.versions()["A"], store.digest({"A": CANARY})) == (before[0]["A"], before[1])
    whole = kept.read_text()
    for answer, said in (
        ("", "nothing"),
        ("{}", "nothing"),
        ('{"A": "x"}', "another"),
        (f'{{"dodai.key": "{"ab" * 32}"}}', "another"),
    ):
        kept.write_text(answer)
        for act in (store.get, store.versions, lambda: store.put({"C": "c"})):
            with pytest.raises(DodaiError) as refused:
                act()
            assert (refused.value.code.id, said in refused.value.message) == ("DOD563", True), refused.value.message
        assert kept.read_text() == answer
    kept.write_text(whole)
    assert store.get() == {"A": CANARY, "B": "more"}
    (tmp_path / "state" / "secret-store.mark").unlink()
    kept.write_text('{"dodai.key": "no key"}')
    with pytest.raises(DodaiError, match="is not what dodai wrote there"):
        store.versions()


def test_age_file_that_its_writer_could_not_read_is_not_written(tmp_path):
    """Without the own key among the recipients nothing is written: it would lock the writer out."""
    own, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    (tmp_path / "age.txt").write_text(str(own))
    path = tmp_path / "staging.age"
    AgeFile(path, (str(own.to_public()),), tmp_path / "age.txt").write({"A": CANARY})
    before = path.read_bytes()
    with pytest.raises(DodaiError) as refused:
        AgeFile(path, (str(other.to_public()),), tmp_path / "age.txt").write({"A": "other"})
    assert (refused.value.code.id, "could not read" in refused.value.message) == ("DOD563", True)
    assert path.read_bytes() == before


def test_file_of_secrets_with_anything_but_texts_is_damaged(tmp_path):
    """A number or null is not what was written there."""
    for content in ('{"A": 5}', '{"A": null}', '{"A": {"B": "c"}}'):
        (tmp_path / "secrets.json").write_text(content)
        with pytest.raises(DodaiError) as refused:
            SecretFile(tmp_path).get()
        assert (refused.value.code.id, refused.value.exit_code) == ("DOD385", 4)


def test_stored_value_that_no_variable_can_carry_stops_a_deploy_before_its_first_change(tmp_path):
    """Blank is no value, whoever wrote it; NUL and too long are told by name. Nothing is started, nothing printed."""
    env = HostedApp(tmp_path / "app")
    env.folder.mkdir()
    kept = tmp_path / "kept.json"
    reading = [sys.executable, "-c", f"print(open({str(kept)!r}).read())"]
    env.write(
        environment=f'secrets = "command"\nsecrets_read = {json.dumps(reading)}',
        more='[secret.SESSION_SECRET]\nused_by = ["web"]\n',
    )
    rings = dict.fromkeys(("DODAI_CSRF_KEYS", "DODAI_IDENTITY_KEYS"), f"k1:{'A' * 43}")
    for value, code, said, state in (
        ("", "DOD560", "no value for `SESSION_SECRET`", "missing"),
        (" \n", "DOD560", "no value for `SESSION_SECRET`", "missing"),
        (f"{CANARY}\0b", "DOD562", "NUL byte", "unusable"),
        (CANARY * 9_000, "DOD562", "longer than 130048 bytes", "unusable"),
    ):
        kept.write_text(json.dumps({**rings, "SESSION_SECRET": value}))
        done = env.run("deploy", "staging", "--yes")
        assert (done.returncode, code in done.stderr, said in done.stderr) == (1, True, True), done.stderr
        report = json.loads(env.run("secrets", "list", "staging", "--json").stdout)
        assert {row["name"]: row["state"] for row in report["secrets"]}["SESSION_SECRET"] == state
        assert (CANARY in done.stdout + done.stderr, "start-web" in done.stderr) == (False, False), done.stderr
    env.clear()
