"""Stores of secrets beside the local file: age, and a program; what they do wrong, and that no value gets out."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import pyrage
import pytest
from tests.end_to_end.hosted_app import HostedApp
from tests.support.command import dodai

from dodai.core.errors import DodaiError
from dodai.operations.secret import new_value
from dodai.operations.secret_document import DocumentStore
from dodai.providers.secret_command.command_store import CommandDocument

NAME = "SESSION_SECRET"
CANARY = "canary-5f1d0e9b7c3a"
SECRET = f'[secret.{NAME}]\nused_by = ["web"]\nrotation = "overlap"\noverlap = "7d"\n'
RINGS = ("DODAI_CSRF_KEYS", "DODAI_IDENTITY_KEYS")
PROGRAM = """
import sys, time
from pathlib import Path
path, mode = Path(sys.argv[1]), sys.argv[2]
if mode == "write":
    path.write_bytes(sys.stdin.buffer.read()[::-1])
elif mode == "hang":
    time.sleep(600)
elif mode == "endless":
    while True:
        print("x" * 65536)
elif mode == "fail":
    print("signed out, by the way: " + "-".join(["canary", "5f1d0e9b7c3a"]), file=sys.stderr)
    sys.exit(3)
elif mode == "words":
    print("please sign in")
elif mode == "read":
    sys.stdout.buffer.write(path.read_bytes()[::-1] if path.exists() else b"")
"""


@pytest.fixture
def env(tmp_path):
    made = HostedApp(tmp_path)
    yield made
    made.clear()


class Watched:
    """The command lines of every process, read over and over until the block ends."""

    def __init__(self):
        self.seen, self.over = set(), threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def _look(self):
        while not self.over.wait(0.005):
            for folder in Path("/proc").iterdir():  # no pattern: that fails for a process that has just ended
                try:
                    self.seen.add((folder / "cmdline").read_bytes() if folder.name.isdigit() else b"")
                except OSError:
                    continue


def written(env, environment):
    env.write(environment=environment, more=SECRET)
    (env.folder / "store.py").write_text(PROGRAM)


def stated(env, name, value, **variables):
    path = env.folder.parent / "value"
    path.write_text(value)
    with path.open("rb") as stream:
        done = dodai("secrets", "set", "staging", name, "--yes", cwd=env.folder, stdin=stream, **variables)
    path.unlink()
    return done


ROTATED = (
    ("secrets", "rotate", "staging", NAME, "--yes"),
    ("secrets", "rotate", "staging", NAME, "--finish", "--now", "--yes"),
)


def used(env, *more, **variables):
    """Values set, a first release, and `more`: everything that was said, and every command line meanwhile."""
    said = []
    with Watched() as watched:
        empty = dodai("deploy", "staging", "--yes", cwd=env.folder, **variables)
        assert (empty.returncode, "DOD560" in empty.stderr) == (1, True), empty.stderr  # it makes up nothing
        for name in (*RINGS, NAME):
            value = new_value(name) if name in RINGS else CANARY
            said.append(stated(env, name, value, **variables))
        words = [("deploy", "staging", "--yes"), *more, ("secrets", "list", "staging")]
        said += [dodai(*line, cwd=env.folder, **variables) for line in words]
    assert [one.returncode for one in said] == [0] * len(said), [one.stderr for one in said]
    assert "web has the values of now" in said[-1].stdout
    told = "".join(one.stdout + one.stderr for one in (*said, empty))
    assert CANARY not in told
    assert [line for line in watched.seen if CANARY.encode() in line] == []
    assert len(watched.seen) > 10
    comes_back = env.state / "serving.json"  # what the Host starts again after a crash, as docs/reference says
    files = [path for path in env.folder.rglob("*") if path.is_file() and path != comes_back]
    assert [path for path in files if CANARY.encode() in path.read_bytes()] == []
    assert comes_back.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(sys.platform != "linux", reason="command lines are read from /proc")
def test_age_file_is_encrypted_for_its_recipients_and_no_value_gets_out(env, tmp_path_factory):
    """It is all that keeps the values; a machine without the key is told which one, and changes nothing."""
    key = pyrage.x25519.Identity.generate()
    identity = tmp_path_factory.mktemp("key") / "age.txt"
    identity.write_text(f"# made by a test\n{key}\n")
    recipients = [str(key.to_public()), str(pyrage.x25519.Identity.generate().to_public())]
    written(env, f'secrets = "age"\nsecrets_recipients = {json.dumps(recipients)}')
    used(env, *ROTATED, DODAI_AGE_IDENTITY=str(identity))
    sealed = (env.folder / "secrets" / "staging.age").read_bytes()
    assert sealed.startswith(b"-----BEGIN AGE ENCRYPTED FILE-----")
    values = json.loads(pyrage.decrypt(sealed, [key]))
    assert (NAME in values, values["dodai.env"], (env.state / "secrets.json").exists()) == (True, "staging", False)
    other = identity.with_name("other.txt")
    other.write_text(str(pyrage.x25519.Identity.generate()))
    for path, words in ((other, "cannot be decrypted with"), (identity.with_name("none"), "cannot be read")):
        lost = env.run("secrets", "list", "staging", DODAI_AGE_IDENTITY=str(path))
        assert (lost.returncode, "DOD563" in lost.stderr, words in lost.stderr) == (1, True, True), lost.stderr
    assert (env.folder / "secrets" / "staging.age").read_bytes() == sealed
    for words in (("restart", "staging"), ("rollback", "staging", env.serves())):
        lost = env.run(*words, "--yes", DODAI_AGE_IDENTITY=str(other))
        assert (lost.returncode, "DOD563" in lost.stderr) == (1, True), lost.stderr
        assert "`web` of `staging` goes on with the values it was started with" in lost.stderr
    stopped = env.run("down", "staging")
    assert (stopped.returncode, env.processes()) == (0, []), stopped.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="command lines are read from /proc")
def test_program_gets_values_on_its_standard_input_alone(env, tmp_path_factory):
    """Reading prints them, writing is given them; both by the manifest."""
    words = [sys.executable, "store.py", str(tmp_path_factory.mktemp("kept") / "document")]
    lines = (f"secrets_{verb} = {json.dumps([*words, verb])}" for verb in ("read", "write"))
    written(env, "\n".join(['secrets = "command"', *lines]))
    used(env)


SOPS_READ = "test -e store.json || exit 0; exec sops decrypt --output-type json store.json"
SOPS_WRITE = """set -e
sops encrypt --age {recipient} --input-type json --output-type json --filename-override store.json /dev/stdin > .new
mv .new store.json
"""


@pytest.mark.optional_part("sops")
@pytest.mark.skipif(sys.platform != "linux", reason="command lines are read from /proc")
def test_sops_keeps_the_values_of_an_environment(env, tmp_path_factory):
    """Its own program, its own format, an age key: set, deployed, rotated, finished, and no value gets out."""
    key = pyrage.x25519.Identity.generate()
    identity = tmp_path_factory.mktemp("key") / "keys.txt"
    identity.write_text(f"{key}\n")
    lines = {"read": SOPS_READ, "write": SOPS_WRITE.format(recipient=key.to_public())}
    settings = (f"secrets_{verb} = {json.dumps(['sh', '-c', text])}" for verb, text in lines.items())
    written(env, "\n".join(['secrets = "command"', *settings]))
    used(env, *ROTATED, SOPS_AGE_KEY_FILE=str(identity))
    sealed = json.loads((env.folder / "store.json").read_text())
    assert sealed[NAME].startswith("ENC[AES256_GCM,")
    assert sealed["sops"]["age"][0]["recipient"] == str(key.to_public())


def program(tmp_path, mode, *, writing="write", deadline_s=20.0):
    (tmp_path / "store.py").write_text(PROGRAM)
    words = (sys.executable, str(tmp_path / "store.py"), str(tmp_path / "kept"))
    return CommandDocument((*words, mode), (*words, writing) if writing else (), tmp_path, deadline_s)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("hang", "did not end within 0.5 s"),
        ("endless", "printed more than 4 MiB"),
        ("fail", "ended with 3"),
        ("words", "answers with no JSON"),
    ],
)
def test_program_that_hangs_fails_or_babbles_is_told_and_ends(tmp_path, mode, words):
    """Within its deadline, by name, and without a word of what it said."""
    began = time.monotonic()
    with pytest.raises(DodaiError) as refused:
        DocumentStore(program(tmp_path, mode, deadline_s=0.5), "staging").get()
    assert (refused.value.code.id, words in refused.value.message) == ("DOD563", True), refused.value.message
    assert CANARY not in f"{refused.value.message}{refused.value.fix}{refused.value.details}"
    assert time.monotonic() - began < 30


def test_store_that_keeps_nothing_or_is_only_read_is_told(tmp_path):
    """It said yes; what it holds says no."""
    with pytest.raises(DodaiError, match="does not hold what it was given"):
        DocumentStore(program(tmp_path, "read", writing="forget"), "staging").put({NAME: CANARY})
    with pytest.raises(DodaiError, match="only read"):
        DocumentStore(program(tmp_path, "read", writing=""), "staging").put({NAME: CANARY})


def test_values_of_another_environment_are_refused(tmp_path):
    """The document says whose it is."""
    DocumentStore(program(tmp_path, "read"), "staging").put({NAME: CANARY})
    assert DocumentStore(program(tmp_path, "read"), "staging").get() == {NAME: CANARY}
    with pytest.raises(DodaiError) as refused:
        DocumentStore(program(tmp_path, "read"), "production").get()
    assert refused.value.code.id == "DOD564"
    assert refused.value.message == "the store of `production` answers with the values of `staging`"


def test_versions_and_ages_are_the_same_for_everybody_who_reads_the_document(tmp_path):
    """A value that comes back is as old as it was."""
    one, other = (DocumentStore(program(tmp_path, "read"), "staging") for _ in range(2))
    one.put({NAME: "first"})
    first, since = dict(other.versions()), dict(other.since())
    assert (first, since) == (dict(one.versions()), dict(one.since()))
    other.put({NAME: "second,first"})
    assert (one.versions()[NAME] != first[NAME], one.since()[NAME] >= since[NAME]) == (True, True)
    one.put({NAME: "first"})
    assert (dict(one.versions()), dict(one.since())) == (first, since)
    assert CANARY.encode() not in (tmp_path / "kept").read_bytes()
