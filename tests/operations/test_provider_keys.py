"""The keys of an environment: each is everybody's or of named providers, and only what is used is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.command import dodai

from dodai.operations.provider import SHARED
from dodai.runtime.manifest_location import reference
from dodai.wiring.environments import registered

UNUSED = ("httpx2", "psycopg", "dodai.providers.neon", "dodai.vendor_api")


def test_every_key_of_an_environment_is_shared_or_a_providers_own():
    """A key that is forgotten here would be accepted with a provider that never reads it."""
    own = {key for make in registered().values() for key in make().keys}
    prefix, keys = "env.NAME.", reference().keys()
    written = {path.removeprefix(prefix).partition(".")[0] for path, _ in keys if path.startswith(prefix)}
    assert own - written == set(), "a key in `keys` of a provider has to be a key of `[env.NAME]` in the manifest first"
    assert written - own - SHARED == set(), "a key of `[env.NAME]` belongs into `keys` of a provider, or into `SHARED`"
    assert (SHARED - written, SHARED & own) == (set(), set())


def test_service_for_which_a_map_says_nothing_is_found_before_a_deploy(tmp_path: Path):
    """Those that run on this machine only are left out; it takes two roles to take turns, and a share is no percentage."""
    (tmp_path / "dodai.toml").write_text(
        '[project]\nname = "small"\n[env.production]\ncompute = "fly"\nedge = "fly"\n'
        'public_origins = ["https://small.example.com"]\ndatabase_roles = ["a", "a"]\n'
        '[env.production.fly]\napps = { web = "small-web" }\nmax_unavailable = 33\n'
        'canary_requests = 0\ncanary_for = "0s"\n[edge.limit.sign-in]\npath = "/sign-in"\n'
        '[service.web]\ncommand = ["x"]\npublic = true\n[service.queue]\ncommand = ["x"]\n'
        '[service.identity]\ncommand = ["x"]\nlocal_only = true\n'
    )
    done = dodai("check", "operations", "--fast", "--output-format", "json", cwd=tmp_path)
    told = {(one["code"], one["message"]) for one in json.loads(done.stdout)["findings"]}
    assert told >= {
        ("DOD010", "the provider `fly` needs `fly.apps.queue` in `[env.production]`"),
        ("DOD003", "`fly.max_unavailable` of `[env.production]` is `33`, not a share of the machines"),
        ("DOD003", "`fly.canary_requests` of `[env.production]` is `0`: without a request nothing can be said"),
        (
            "DOD003",
            "`fly.canary_for` of `[env.production]` is `0s`, not a time in which a deploy can wait for requests",
        ),
        (
            "DOD527",
            "`[edge.limit.sign-in]` holds nobody back in `production`: the edge of `fly` has no rate limits",
        ),
        ("DOD569", "`env.production.database_roles` has 1 role, not two"),
    }


def test_status_of_an_environment_on_this_machine_loads_no_driver_of_a_vendor(tmp_path: Path):
    """Nor an HTTP client: it is the command that is typed most."""
    (tmp_path / "dodai.toml").write_text('[project]\nname = "small"\n[env.staging]\nprovider = "local"\n')
    script = (
        "import json, sys\nfrom dodai.cli.main import run\n"
        "run(['status', 'staging'])\nprint(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert "dodai.operations.run.status" in loaded, done.stderr
    assert [name for name in loaded if name.startswith(UNUSED)] == []


def test_status_of_what_never_ran_names_no_process_and_no_time(tmp_path: Path):
    """There is neither."""
    (tmp_path / "dodai.toml").write_text('[project]\nname = "small"\n[env.staging]\nprovider = "local"\n')
    done = dodai("status", "staging", cwd=tmp_path)
    assert done.stdout.splitlines()[0] == "staging: not running", done.stderr
