"""A blueprint of the repository at Authentik: applied and seen, taken back, and every bad input before or after."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import threading
from contextlib import closing, suppress
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPErrorProcessor, build_opener

import pytest
from tests.providers.authentik.test_authentik import PUBLISHED
from tests.support.vendor_spec import Allowed

from dodai.core.errors import DodaiError
from dodai.operations.environment_policy import AuthentikPolicy
from dodai.providers.authentik.authentik_api import FACTS, authentik
from dodai.providers.authentik.declared_sign_in import BlueprintSignIn
from dodai.providers.authentik.sign_in import AuthentikSignIn
from dodai.standins import ApiFault
from dodai.standins.authentik_standin import AuthentikStandIn
from dodai.vendor_api import Api, ApiToken

TOKEN = "ak_c4n4ry"
OLD, NEW = "https://quiz.example.com/old", "https://quiz.example.com/auth/callback"
RIGHTS = frozenset(scope.name for scope in FACTS.scopes)
FILE = "infra/quiz.yaml"


def blueprint(uri=NEW, name="Quiz", extra=""):
    """A client and its application, as Authentik's own documentation writes them."""
    return f"""# yaml-language-server: $schema=https://goauthentik.io/blueprints/schema.json
version: 1
metadata:
  name: quiz
entries:
  - id: client
    model: authentik_providers_oauth2.oauth2provider
    identifiers:
      name: Quiz client
    attrs:
      client_id: quiz
      client_secret: !Env QUIZ_CLIENT_SECRET
      client_type: confidential
      authorization_flow: !Find [authentik_flows.flow, [slug, default-provider-authorization-implicit-consent]]
      redirect_uris:
        - matching_mode: strict
          url: {uri}
  - model: authentik_core.application
    identifiers:
      slug: quiz
    attrs:
      name: {name}
      provider: !KeyOf client
{extra}"""


@pytest.fixture
def server():
    with AuthentikStandIn({TOKEN: RIGHTS}) as standin:
        standin.client |= {"name": "Quiz client", "redirect_uris": [{"matching_mode": "strict", "url": OLD}]}
        standin.clients[5] = {"client_id": "theirs", "name": "Wiki", "client_type": "confidential", "redirect_uris": []}
        standin.applications["wiki"] = {"name": "Wiki", "provider": 5}
        standin.shelf.add("theirs", "version: 1\nentries: []", status="successful")
        yield standin


@pytest.fixture
def declared(server, tmp_path):
    (tmp_path / "infra").mkdir()
    (tmp_path / FILE).write_text(blueprint())
    with closing(Api(authentik(), server.url, ApiToken("AUTHENTIK_TOKEN", TOKEN))) as api:
        sign_in = AuthentikSignIn(lambda: api, server.url, "quiz", (NEW,), client_id="quiz")
        api.vendor = dataclasses.replace(api.vendor, rates={})  # courtesy costs a minute here
        yield BlueprintSignIn(
            sign_in, "quiz", FILE, tmp_path, tmp_path / "state", released=lambda _: AuthentikPolicy(), plan="plan-1",
            poll_s=0.02, applied_within_s=2.0, seen_within_s=0.3,
        )  # fmt: skip


def run(work):
    return asyncio.run(work)


def test_release_is_judged_by_its_own_manifest_and_one_that_declares_nothing_changes_nothing(declared, tmp_path):
    """Going back: the addresses of today are another release's."""
    there = tmp_path / "there"
    policies = {
        there: AuthentikPolicy("", "quiz", (OLD,), "quiz", blueprint_file="infra/old.yaml"),
        tmp_path / "before": AuthentikPolicy("", "quiz", (OLD,), "quiz"),
    }
    declared = dataclasses.replace(declared, released=policies.__getitem__)
    (there / "infra").mkdir(parents=True)
    (there / "infra/old.yaml").write_text(blueprint(OLD))
    earlier = declared.of_release(str(there)).of_plan("plan-2")
    run(declared.apply())
    assert run(earlier.differs())
    run(earlier.apply())
    assert run(earlier.differs()) == ()
    assert declared.of_release(str(tmp_path / "before")) is None


def everything(server):
    """What Authentik has, without the times of saving."""
    rows = [{k: v for k, v in row.items() if k != "last_applied"} for row in server.shelf.rows.values()]
    return copy.deepcopy((server.applications, server.clients, rows))


def theirs(server):
    return copy.deepcopy((server.applications["wiki"], server.clients[5], server.shelf.rows["theirs"]))


def sent_to_login(server, uri):
    """What a browser is answered that the application sends to sign in."""

    class Stay(HTTPErrorProcessor):
        def http_response(self, _, response):
            return response

    query = urlencode({"client_id": "quiz", "redirect_uri": uri, "response_type": "code"})
    try:
        return build_opener(Stay).open(f"{server.url}/application/o/authorize/?{query}").status
    except HTTPError as error:
        return error.code


@pytest.mark.parametrize("new", [False, True], ids=["application is there", "new server"])
def test_blueprint_is_applied_seen_and_then_there_is_nothing_to_do(server, declared, new):
    """Who signs in is sent back to the new address and no more to the old one; the second look finds nothing."""
    if new:
        del server.applications["quiz"], server.clients[7]
    others = theirs(server)
    run(declared.possible())
    assert len(run(declared.differs())) >= 2
    run(declared.apply())
    assert run(declared.differs()) == run(declared.observe()).differs == ()
    assert (sent_to_login(server, NEW), sent_to_login(server, OLD)) == (302, 400)
    row = server.shelf.rows["quiz"]
    assert (row["content"], row["status"]) == (blueprint().strip(), "successful")
    assert theirs(server) == others
    before = len(server.exchanges)
    run(declared.differs())
    assert {one.method for one in server.exchanges[before:]} == {"GET"}


def first(server):
    """No blueprint of ours is there yet."""


def new_server(server):
    del server.applications["quiz"], server.clients[7]


def earlier_text(server):
    """The release before applied its own."""
    server.shelf.add("quiz", blueprint(OLD, "Before"), status="successful")
    server.applications["quiz"]["name"] = "Before"


def changed_by_hand(server):
    """The release before applied its own, and somebody changed the client since."""
    earlier_text(server)
    server.client["redirect_uris"] = [{"matching_mode": "strict", "url": f"{OLD}/by-hand"}]


def failed_before(server):
    server.shelf.add("quiz", blueprint(OLD), status="error")


def other_client_linked(server):
    """The application had another client, which the blueprint does not know."""
    server.clients[6] = {"client_id": "first", "name": "First", "client_type": "confidential", "redirect_uris": []}
    server.applications["quiz"]["provider"] = 6


STARTS = (first, new_server, earlier_text, changed_by_hand, failed_before, other_client_linked)


@pytest.mark.parametrize("start", STARTS, ids=lambda one: one.__name__)
def test_undo_leaves_everything_as_it_was_and_others_untouched(server, declared, start):
    """Blueprint, application, client, redirect URIs; asked for a second time it has nothing to do."""
    start(server)
    before = everything(server)
    run(declared.apply())
    assert everything(server) != before
    assert run(declared.back())
    after = everything(server)
    for row in (
        *before[2],
        *after[2],
    ):  # a text that we had to put a third one in front of is applied by the next deploy
        if start in (changed_by_hand, failed_before) and row["name"] == "quiz":
            row |= {"last_applied_hash": "", "status": ""}
    assert after == before
    assert not run(declared.back())
    assert not declared.changed


@pytest.mark.parametrize("start", STARTS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("undo", [False, True], ids=["forward", "back"])
def test_every_change_may_be_the_last_one_before_a_kill(server, declared, start, undo, tmp_path):
    """Cut after each change that was asked for: going on, or back, ends as if nothing had happened in between."""
    others = theirs(server)
    for cut in range(1, 12):
        server.applications["quiz"], server.clients[7] = {"name": "Quiz", "provider": 7}, {
            "client_id": "quiz", "client_type": "confidential", "client_secret": "s", "name": "Quiz client",
            "redirect_uris": [{"matching_mode": "strict", "url": OLD}],
        }  # fmt: skip
        server.clients.pop(6, None)
        server.shelf.rows.pop("quiz", None)
        (tmp_path / "state" / "sign-in-previous.json").unlink(missing_ok=True)
        start(server)
        before = everything(server)
        if undo:
            run(declared.apply())
        asked = _cut_after(server, declared, cut, undo=undo)
        if undo:
            run(declared.back())
            assert _without_hash(everything(server)) == _without_hash(before), cut
        else:
            run(declared.apply())
            assert run(declared.differs()) == (), cut
            assert run(declared.back()), cut
            assert _without_hash(everything(server)) == _without_hash(before), cut
        assert theirs(server) == others
        if asked < cut:
            assert cut > 1
            return
    raise AssertionError("there is always another change")


def test_stand_in_shows_no_blueprint_that_is_half_saved(server, declared):
    """Authentik saves time, status and hash of an application at once: who asks meanwhile waits for all of it."""
    waiting, seen = [], []

    def asked_meanwhile():
        asked = SimpleNamespace(query={"name": "quiz"})
        reader = threading.Thread(target=lambda: seen.extend(server.shelf.listed(asked)))
        reader.start()
        reader.join(0.2)
        waiting.append(reader)
        assert reader.is_alive()

    server.shelf.spoils = asked_meanwhile
    run(declared.apply())
    server.shelf.idle()
    waiting[0].join()
    assert [row["status"] for row in seen] == ["successful"]
    assert len(waiting) == 1


class Killed(Exception):  # noqa: N818 - the process ends there
    pass


def _cut_after(server, declared, cut, *, undo):
    """How many changes were sent before the end, `cut` at most: the one of that number is carried out, then it ends."""
    sent = 0
    plain = declared.sign_in.connect()

    class Cutting:
        token, error = plain.token, plain.error

        def call_now(self, operation, **options):
            nonlocal sent
            answer = plain.call_now(operation, **options)
            sent += operation.method != "GET"
            if operation.method != "GET" and sent == cut:
                raise Killed
            return answer

    cutting = dataclasses.replace(declared, sign_in=dataclasses.replace(declared.sign_in, connect=Cutting))
    with suppress(Killed):
        run(cutting.back() if undo else cutting.apply())
    server.shelf.idle()  # whoever goes on after a kill comes later than Authentik's worker
    return sent


def _without_hash(seen):
    applications, clients, rows = seen
    kept = [{k: v for k, v in row.items() if k not in ("last_applied_hash", "status")} for row in rows]
    numbered = {
        key: {k: v for k, v in row.items() if k != "client_secret" or v is not None} for key, row in clients.items()
    }
    return applications, numbered, sorted(kept, key=lambda row: row["name"])


BAD_FILES = {
    "not there": (None, "DOD761", "infra/quiz.yaml: the blueprint cannot be read: No such file"),
    "not UTF-8": (b"\xff", "DOD761", "it is not UTF-8"),
    "not YAML": ("version: 1\nentries:\n  - [", "DOD761", "infra/quiz.yaml:3: the blueprint is not YAML"),
    "unknown tag": ("version: 1\nentries:\n  - !Kye x", "DOD761", "infra/quiz.yaml:3: the blueprint is not YAML"),
    "a list": ("- a", "DOD761", "has no `version: 1`"),
    "version 2": ("version: 2\nentries: []", "DOD761", "has no `version: 1`"),
    "no entries": ("version: 1", "DOD761", "has no list of `entries`"),
    "no model": ("version: 1\nentries:\n\n  - identifiers: {a: 1}", "DOD761", "infra/quiz.yaml:4: the blueprint an entry"),
    "no identifiers": ("version: 1\nentries:\n  - model: a.b", "DOD761", "quiz.yaml:3: the blueprint an entry has no `id"),
    "deep": ("[" * 5000, "DOD761", "is not YAML"),
    "another redirect URI": (blueprint(OLD), "DOD766", f"quiz.yaml:6: the redirect URI `{OLD}` is not in"),
    "pattern": (
        blueprint().replace("mode: strict", "mode: regex"), "DOD766", f"the redirect URI `{NEW}` is a regex"
    ),
    "none of them": (
        blueprint().replace(f"\n        - matching_mode: strict\n          url: {NEW}", " []"), "DOD766",
        f"`{NEW}`, in `redirect_uris` of the manifest, is no",
    ),
    "another client id": (blueprint().replace("client_id: quiz", "client_id: other"), "DOD766", "client id is `other`"),
    "public": (blueprint().replace("client_type: confidential", "client_type: public"), "DOD766", "is `public`"),
    "unknown model": (
        blueprint(extra="  - model: authentik_core.nothing\n    identifiers: {name: x}\n"), "DOD762",
        "`infra/quiz.yaml`: Failed to validate blueprint",
    ),
    "unknown field": (blueprint().replace("client_type:", "klient_type:"), "DOD762", "Failed to validate blueprint"),
    "no such key": (blueprint().replace("!KeyOf client", "!KeyOf nobody"), "DOD762", "Failed to validate blueprint"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES.values(), ids=BAD_FILES)
@pytest.mark.parametrize("there", [False, True], ids=["first", "later"])
def test_bad_file_is_refused_before_anything_is_changed(server, declared, case, there, tmp_path):
    """With its line where it can be said without Authentik, in Authentik's words where not."""
    text, code, words = case
    if there:
        earlier_text(server)
    if text is None:
        (tmp_path / FILE).unlink()
    else:
        (tmp_path / FILE).write_bytes(text if isinstance(text, bytes) else text.encode())
    before = everything(server)
    with pytest.raises(DodaiError) as caught:
        run(declared.possible())
    assert (caught.value.code.id, words in caught.value.message) == (code, True), caught.value
    if case[1] == "DOD762":
        assert caught.value.details, "the reason is in Authentik's second line"
    assert everything(server) == before


@pytest.mark.parametrize(
    ("lacks", "there"),
    [("add_blueprintinstance", False), ("change_blueprintinstance", True), ("add_blueprintinstance", True)],
    ids=["add", "change", "apply"],
)
def test_token_without_the_right_is_told_before_anything_is_changed(server, declared, lacks, there):
    """By asking for a change that is refused whoever asks."""
    if there:
        earlier_text(server)
    server.tokens[TOKEN] = RIGHTS - {lacks}
    before = everything(server)
    with pytest.raises(DodaiError) as caught:
        run(declared.possible())
    assert caught.value.code.id == "DOD702"
    assert everything(server) == before


def test_address_of_people_that_cannot_be_reached_is_told_before_anything_is_changed(server, declared):
    """Nobody could look at the effect: the API alone says nothing of the issuer."""
    away = dataclasses.replace(declared, sign_in=dataclasses.replace(declared.sign_in, url="http://127.0.0.1:1"))
    before = everything(server)
    with pytest.raises(DodaiError) as caught:
        run(away.possible())
    assert caught.value.code.id == "DOD705"
    assert "cannot be reached at `http://127.0.0.1:1`" in caught.value.message
    assert everything(server) == before


def test_address_for_signing_out_is_applied_and_put_back_with_its_type(server, declared, tmp_path):
    """The manifest names ways in; what else the client allows is the blueprint's own."""
    goodbye = {"matching_mode": "strict", "url": f"{OLD}/bye", "redirect_uri_type": "logout"}
    server.client["redirect_uris"].append(goodbye)
    before = everything(server)
    row = "\n        - {matching_mode: strict, url: https://quiz.example.com/, redirect_uri_type: logout}"
    (tmp_path / FILE).write_text(blueprint().replace(f"url: {NEW}", f"url: {NEW}{row}"))
    run(declared.possible())
    run(declared.apply())
    assert run(declared.differs()) == ()
    assert sent_to_login(server, "https://quiz.example.com/") == 400
    assert run(declared.back())
    assert everything(server) == before


def test_blueprint_that_the_server_reads_from_a_file_is_left_alone(server, declared):
    """It belongs to whoever put the file there; found in preflight and, should it come later, by the step."""
    server.shelf.add("quiz", path="quiz/quiz.yaml", status="successful")
    before = everything(server)
    assert "is read from `quiz/quiz.yaml`" in run(declared.differs())[0]
    for work in (declared.possible, declared.apply):
        with pytest.raises(DodaiError) as caught:
            run(work())
        assert caught.value.code.id == "DOD765"
    assert everything(server) == before
    assert not declared.changed


def spoiled(server):
    server.shelf.spoils = lambda: server.client.update(redirect_uris=[])


BAD_ENDS = {
    "error": (lambda s: setattr(s.shelf, "ends", "error"), "DOD763", "ended the blueprint `quiz` with `error`"),
    "warning": (lambda s: setattr(s.shelf, "ends", "warning"), "DOD763", "ended the blueprint `quiz` with `warning`"),
    "never": (lambda s: setattr(s.shelf, "works", False), "DOD764", "is not applied after 2 s"),
    "ok without effect": (spoiled, "DOD763", f"was applied, and people cannot be sent back to `{NEW}`"),
}


@pytest.mark.parametrize("end", BAD_ENDS.values(), ids=BAD_ENDS)
@pytest.mark.parametrize("start", [first, earlier_text], ids=lambda one: one.__name__)
def test_application_that_goes_wrong_is_a_coded_error_and_can_be_taken_back(server, declared, end, start):
    """Also while Authentik's worker is still away: a text that was never applied is only exchanged."""
    start(server)
    before, (spoil, code, words) = everything(server), end
    spoil(server)
    with pytest.raises(DodaiError) as caught:
        run(declared.apply())
    assert (caught.value.code.id, words in caught.value.message) == (code, True), caught.value
    server.shelf.ends, server.shelf.spoils = "successful", None
    run(declared.back())
    assert _without_hash(everything(server)) == _without_hash(before)


@pytest.mark.parametrize("where", ["POST .*blueprints/$", "PATCH", "POST .*apply/$", "DELETE"])
@pytest.mark.parametrize("kind", ["lost", "lost before", "status after"])
def test_lost_reply_is_looked_after(server, declared, where, kind):
    """Nothing is made twice, and what was asked for is there."""
    if where == "PATCH":
        earlier_text(server)
    before = everything(server)
    server.faults.add(ApiFault(where=where, kind=kind, status=503))
    run(declared.apply())
    assert run(declared.differs()) == ()
    run(declared.back())
    assert everything(server) == before
    assert not server.faults.left


def test_no_secret_of_a_blueprint_or_client_is_in_a_message(server, declared, tmp_path):
    """A client secret that somebody wrote into the text stays there."""
    (tmp_path / FILE).write_text(blueprint().replace("!Env QUIZ_CLIENT_SECRET", "s3cr3t-in-the-text"))
    server.faults.add(ApiFault(where="POST .*blueprints/$", kind="status", status=400, times=2))
    said = ""
    for work in (declared.possible, declared.apply):
        try:
            run(work())
        except DodaiError as error:
            said += f"{error!r}{error}{error.details}"
    assert said
    assert "s3cr3t-in-the-text" not in said
    assert (tmp_path / "state" / "sign-in-previous.json").stat().st_mode & 0o077 == 0


@pytest.mark.optional_part("vendor-specs")
def test_every_call_keeps_to_the_published_specification_in_both_directions(server, declared):
    """Trial, making, changing, applying, taking away; the trial alone sends a name that is refused, on purpose."""
    run(declared.possible())
    run(declared.apply())
    run(declared.possible())
    run(declared.back())
    earlier_text(server)
    run(declared.apply())
    run(declared.back())
    trial = Allowed("a trial: an empty name is refused, so that nothing is kept", says=r"^name: '' ")
    told = dataclasses.replace(PUBLISHED, allowed=(*PUBLISHED.allowed, trial))
    verdict = told.judge(server.exchanges)
    assert verdict.problems == ()
    assert verdict.official >= 30
    sent = {
        (one.method, one.path.split("/managed/")[-1].count("/")) for one in server.exchanges if "managed" in one.path
    }
    assert sent == {("GET", 1), ("GET", 2), ("POST", 1), ("PATCH", 2), ("POST", 3), ("DELETE", 2)}
    kept = [json.loads(one.content) for one in server.exchanges if one.method == "POST" and one.content]
    assert {bool(body["name"]) for body in kept} == {True, False}
