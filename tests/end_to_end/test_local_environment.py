"""`up`, `deploy`, `down` on this machine: what starts, what stays, what is gone, and what a bad input gets."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request

import pytest
from tests.end_to_end.small_app import SmallApp
from tests.support.wait import until


@pytest.fixture
def app(tmp_path):
    small = SmallApp(tmp_path).write()
    yield small
    small.clear()


def fetch(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def status(app, env="staging"):
    return json.loads(app.run("status", env, "--json").stdout)["host"]


def live(app, env="staging"):
    services = {service["name"]: service["release"] for service in status(app, env)["services"]}
    return services.get("web", "")


def serving(app):
    return "serves small" in app.output()


def test_up_serves_and_an_interrupt_stops_everything(app):
    """Ctrl-C ends with exit code 0 and no process left."""
    running = app.start("up")
    until(lambda: serving(app) or running.poll() is not None)
    url = next(word for word in app.output().split() if word.startswith("http://"))
    assert fetch(url).startswith("hello from ")
    running.send_signal(signal.SIGINT)
    assert running.wait(20) == 0
    until(lambda: not app.processes())


def test_killed_up_leaves_no_child_and_the_next_one_starts_clean(app):
    """`kill -9` of the person's command is the end of everything it started."""
    first = app.start("up")
    until(lambda: serving(app) or first.poll() is not None)
    first.kill()
    first.wait()
    until(lambda: not app.processes())
    second = app.start("up")
    until(lambda: serving(app) or second.poll() is not None)
    assert second.poll() is None, app.output()
    second.send_signal(signal.SIGTERM)
    assert second.wait(20) == 0


def test_up_killed_in_the_middle_of_its_plan_is_taken_back_by_the_next(app):
    """An unfinished plan of an `up` never blocks the next one."""
    app.write(spoil="READY = False")
    first = app.start("up")
    until(lambda: app.processes() and "start-web" not in app.output() and "edge" in app.output())
    first.kill()
    first.wait()
    until(lambda: not app.processes())
    app.write()
    second = app.start("up")
    until(lambda: serving(app) or second.poll() is not None)
    assert second.poll() is None, app.output()
    second.send_signal(signal.SIGINT)
    assert second.wait(20) == 0


def test_second_up_in_one_folder_says_who_holds_it(app):
    """Exit code 75 with the pid of the holder."""
    first = app.start("up")
    until(lambda: serving(app) or first.poll() is not None)
    answer = app.run("up")
    assert answer.returncode == 75
    assert "DOD397 host-already-runs" in answer.stderr
    assert "pid `" in answer.stderr
    first.send_signal(signal.SIGINT)
    first.wait(20)


def test_deploy_leaves_the_services_running_until_down(app):
    """The command ends, the environment stays; `down` twice is safe."""
    deployed = app.run("deploy", "staging", "--yes")
    assert deployed.returncode == 0, deployed.stderr
    url = deployed.stdout.split()[0]
    assert fetch(url) == f"hello from {live(app)}"
    assert app.run("down", "staging").stdout.startswith("stopped: staging")
    until(lambda: not app.processes())
    assert app.run("down", "staging").stdout.startswith("already stopped: staging")


def test_release_that_ends_at_boot_is_undone_with_its_log_and_the_old_one_serves(app):
    """Exit 3 long before the health deadline, the reason on screen, traffic untouched."""
    assert app.run("deploy", "staging", "--yes").returncode == 0
    good = live(app)
    app.write(spoil="raise SystemExit('no such setting: COLOUR')")
    failed = app.run("deploy", "staging", "--yes")
    assert failed.returncode == 3, failed.stderr
    assert "DOD387 release-not-healthy" in failed.stderr
    assert "no such setting: COLOUR" in failed.stderr
    assert "undone: start-web" in failed.stderr
    assert live(app) == good


def test_release_that_never_becomes_ready_is_undone_within_its_deadline(app):
    """A health path that answers 503 for ever costs its timeout and nothing else."""
    assert app.run("deploy", "staging", "--yes").returncode == 0
    good = live(app)
    app.write(spoil="READY = False")
    failed = app.run("deploy", "staging", "--yes", "--json")
    document = json.loads(failed.stdout)
    assert failed.returncode == 3
    assert (document["state"], document["closed"]) == ("restored", True)
    assert live(app) == good


def test_wrong_version_answering_healthily_is_a_failure(app):
    """A healthy answer from another release is not this release."""
    app.write(spoil="VERSION = 'yesterday'")
    failed = app.run("deploy", "staging", "--yes")
    assert failed.returncode == 3
    assert "DOD388 wrong-version-answers" in failed.stderr
    assert "`yesterday`" in failed.stderr


def test_journey_that_goes_wrong_undoes_the_deploy(app):
    """Healthy is not enough: the journeys are walked through the edge before the old release is let go."""
    assert app.run("deploy", "staging", "--yes").returncode == 0
    good = live(app)
    app.write(
        spoil="Page.do_GET, VERSION = (lambda f: lambda s: s.send_error(500) if s.path == '/' else f(s))(Page.do_GET), VERSION"
    )
    failed = app.run("deploy", "staging", "--yes")
    assert failed.returncode == 3, failed.stderr
    assert "DOD389 journey-failed" in failed.stderr
    assert "status 500" in failed.stderr
    assert live(app) == good


def test_port_in_use_is_told_and_nothing_is_started(app):
    """The declared port of the edge belongs to somebody else."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        app.write(environment=f"port = {port}")
        failed = app.run("deploy", "staging", "--yes")
    assert failed.returncode == 3, failed.stderr
    assert "DOD395 port-in-use" in failed.stderr
    assert f"{port}" in failed.stderr
    assert live(app) == ""


def test_program_that_does_not_exist_is_told(app):
    """A typing error in the command names the word."""
    manifest = (app.folder / "dodai.toml").read_text().replace('["{python}", "web.py"]', '["no-such-program"]')
    (app.folder / "dodai.toml").write_text(manifest)
    failed = app.run("deploy", "staging", "--yes")
    assert failed.returncode == 3
    assert "no-such-program" in failed.stderr


def test_program_that_listens_somewhere_else_is_told_where_it_should(app):
    """A port of its own choice is the first mistake of everybody; `{port}` in the command is the way out."""
    app.write(spoil="del os.environ['PORT']; os.environ['PORT'] = sys.argv[1]")
    manifest = (app.folder / "dodai.toml").read_text()
    (app.folder / "dodai.toml").write_text(manifest.replace('"web.py"]', '"web.py", "0"]'))
    failed = app.run("deploy", "staging", "--yes")
    assert failed.returncode == 3
    assert "nothing listens on the port it was given as `PORT` (`{port}` in its command)" in failed.stderr
    (app.folder / "dodai.toml").write_text(manifest.replace('"web.py"]', '"web.py", "{port}"]'))
    assert app.run("deploy", "staging", "--yes").returncode == 0


def test_up_that_fails_names_a_command_that_exists(app):
    """`dodai up` takes no release: what stands there for the next step can be pasted."""
    (app.folder / "web.py").write_text("raise SystemExit(1)")
    failed = app.run("up")
    assert failed.returncode == 3
    assert "next: `dodai up local`\n" in failed.stderr


def test_migration_with_a_syntax_error_stops_the_deploy_before_any_service(app):
    """File, line and statement are named; the files before it stay applied, nothing of it does."""
    folder = app.folder / "db" / "migrations"
    folder.mkdir(parents=True)
    (folder / "1_good.sql").write_text("-- +goose Up\nCREATE TABLE a (id int);\n-- +goose Down\nDROP TABLE a;\n")
    (folder / "2_bad.sql").write_text(
        "-- +goose Up\nCREATE TABLE b (id int);\nCREATE TABEL c (id int);\n-- +goose Down\nDROP TABLE b;\n"
    )
    app.write(more='[database]\nused_by = ["web"]\n[migrations]\nfolder = "db/migrations"\n')
    failed = app.run("deploy", "staging", "--yes")
    assert failed.returncode in (3, 4), failed.stderr
    assert "db/migrations/2_bad.sql" in failed.stderr
    assert "TABEL" in failed.stderr
    seen = json.loads(app.run("migrate", "status", "--env", "staging", "--json").stdout)
    assert [(row["id"], row["standing"]) for row in seen["migrations"]] == [("1", "applied"), ("2", "pending")]
    assert live(app) == ""


REVERTED = """
import psycopg, dodai.psycopg
with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    connection.execute("DELETE FROM goose_db_version WHERE version_id = 2")
    READY = dodai.psycopg.schema_ready_sync(connection)
    print(READY.detail, flush=True)
    READY = bool(READY)
"""


def test_release_whose_migration_is_not_applied_never_becomes_ready_and_says_which(app):
    """Every service that uses the database is told what its release needs; somebody reverts it before it starts."""
    folder = app.folder / "db" / "migrations"
    folder.mkdir(parents=True)
    for number in (1, 2):
        text = f"-- +goose Up\nCREATE TABLE t{number} (id int);\n-- +goose Down\nDROP TABLE t{number};\n"
        (folder / f"{number}_table.sql").write_text(text)
    database = '[database]\nused_by = ["web"]\n[migrations]\nfolder = "db/migrations"\n'
    app.write(spoil=REVERTED.replace("= 2", "= 3"), more=database)
    deployed = app.run("deploy", "staging", "--yes")
    assert deployed.returncode == 0, deployed.stderr
    good = live(app)
    app.write(spoil=REVERTED, more=database)
    failed = app.run("deploy", "staging", "--yes")
    assert failed.returncode == 3, failed.stderr
    assert "DOD255 schema-not-ready: 1 migrations missing: `2`" in failed.stderr
    assert live(app) == good


def test_environment_named_like_a_path_outside_is_refused_and_nothing_is_written_there(app):
    """Its folder would be beside the project; not even a look makes it."""
    manifest = app.folder / "dodai.toml"
    manifest.write_text(manifest.read_text().replace("[env.staging]", '[env."../../../outside"]'))
    for words in (("status",), ("deploy",), ("up",), ("down",)):
        refused = app.run(words[0], "../../../outside")
        assert (refused.returncode, "DOD318" in refused.stderr) == (2, True), refused.stderr
    assert not (app.folder.parent / "outside").exists()
    assert not (app.folder / "outside").exists()


def test_what_services_say_is_for_their_user_and_group_alone(app):
    """No log is readable by every account of the machine, that of the Host included."""
    assert app.run("deploy", "staging", "--yes").returncode == 0
    state = app.folder / ".dodai" / "env" / "staging"
    logs = [*(state / "logs").iterdir(), state / "host.log"]
    assert len(logs) > 2
    assert not [log.name for log in logs if log.stat().st_mode & 0o007]
