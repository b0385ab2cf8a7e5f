"""The client of vendors' APIs against a real server: what is sent again, what is looked at, what is refused."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import pytest

from dodai.core.errors import DodaiError
from dodai.standins import ApiFault, Asked, Reply, StandIn, route
from dodai.vendor_api import Api, ApiToken, Operation, Rate, Vendor, VendorError, nothing, one, token_from

VENDOR = Vendor(name="Acme", lag_s=0.3, rates={"": Rate(1000, 100)})


@dataclass(frozen=True, slots=True)
class Box:
    name: str
    size: int = 0


READ = Operation(name="box_get", method="GET", path="/boxes/{name}", reply=one(Box))
MAKE = Operation(name="box_make", method="POST", path="/boxes", reply=one(Box))
DROP = Operation(name="box_drop", method="DELETE", path="/boxes/{name}", reply=nothing)


@pytest.fixture
def acme():
    """A vendor that keeps boxes; making one twice makes two."""
    standin = StandIn({"sesame": frozenset({"*"}), "weak": frozenset()})
    standin.boxes = []

    def make(asked: Asked) -> Reply:
        standin.boxes.append(asked.body["name"])
        return Reply(201, {"name": asked.body["name"], "size": 1, "colour": "ignored"})

    def read(asked: Asked) -> Reply:
        if asked.params["name"] not in standin.boxes:
            return standin.error(404, "no such box")
        return Reply(200, {"name": asked.params["name"]})

    standin.routes = (route("POST", "/boxes", make, "write"), route("GET", "/boxes/{name}", read))
    with standin:
        yield standin


@pytest.fixture
def api(acme):
    with closing(Api(VENDOR, acme.url, ApiToken("ACME_TOKEN", "sesame"))) as api:
        yield api


def make(api: Api, **options) -> Box:
    return api.call_now(MAKE, body={"name": "a"}, **options).value


def found(acme: StandIn):
    return lambda: Box("a") if "a" in acme.boxes else None


@pytest.mark.parametrize("status", [429, 423])
def test_what_was_throttled_is_sent_again_after_the_time_the_vendor_names(acme, api, status):
    """Nothing was done by the refused one, so a write is repeated too; everybody waits."""
    acme.faults.add(ApiFault(kind="status", status=status, headers={"retry-after": "0"}, times=3))
    assert make(api) == Box("a", 1)
    assert acme.boxes == ["a"]


def test_a_retry_after_beyond_the_deadline_ends_the_call_at_once(acme, api):
    """The error says when to come again; nobody waits for what cannot come."""
    acme.faults.add(ApiFault(kind="status", status=429, headers={"retry-after": "600"}))
    with pytest.raises(VendorError) as caught:
        make(api, deadline_s=5)
    assert (caught.value.code.id, caught.value.reply) == ("DOD704", "throttled")
    assert caught.value.data == {"retry_after_s": 600.0}


@pytest.mark.parametrize("kind", ["lost", "status after"])
def test_a_lost_reply_is_settled_by_a_look_and_nothing_is_done_twice(acme, api, kind):
    """The connection ended, or a gateway answered 503, after the vendor had done it."""
    acme.faults.add(ApiFault(kind=kind, where="^POST"))
    assert make(api, effect=found(acme)) == Box("a")
    assert acme.boxes == ["a"]


@pytest.mark.parametrize("kind", ["lost before", "status"])
def test_what_a_look_does_not_find_is_sent_again(acme, api, kind):
    """The same from outside, and nothing had been done."""
    acme.faults.add(ApiFault(kind=kind, where="^POST"))
    assert make(api, effect=found(acme)) == Box("a", 1)
    assert acme.boxes == ["a"]


def test_without_a_way_to_look_an_unclear_answer_is_given_to_the_caller(acme, api):
    """A write that may have happened is never repeated blindly."""
    acme.faults.add(ApiFault(kind="lost", where="^POST"))
    with pytest.raises(VendorError) as caught:
        make(api)
    assert (caught.value.code.id, caught.value.reply) == ("DOD706", "ambiguous")
    assert acme.boxes == ["a"]


def test_a_read_survives_errors_of_the_server_and_lost_replies(acme, api):
    """Reading twice does no harm."""
    acme.boxes.append("a")
    for kind in ("status", "lost", "status after"):
        acme.faults.add(ApiFault(kind=kind, where="^GET"))
    assert api.call_now(READ, path={"name": "a"}).value == Box("a")


def test_a_reply_off_the_contract_says_which_field(acme, api):
    """And not what stands there: it may be a secret. Whether a write happened is unclear then."""
    acme.boxes.append("a")
    acme.faults.add(ApiFault(kind="off contract", where="^GET", body=b'{"name": 7, "secret": "hidden"}'))
    with pytest.raises(VendorError) as caught:
        api.call_now(READ, path={"name": "a"})
    assert caught.value.code.id == "DOD707"
    assert "`$.name` should be of type str, and is of type int" in caught.value.message
    assert "hidden" not in caught.value.message
    acme.faults.add(ApiFault(kind="off contract", where="^POST", body=b"<html>"))
    with pytest.raises(VendorError) as caught:
        make(api, effect=found(acme))
    assert (caught.value.code.id, caught.value.reply) == ("DOD707", "ambiguous")


def test_a_refusal_is_told_in_the_vendors_words_and_is_final(acme, api):
    """404 has its status for callers whom absence suits."""
    with pytest.raises(VendorError, match="Acme answered 404 to `GET /boxes/a%2Fb`: no such box") as caught:
        api.call_now(READ, path={"name": "a/b"})
    assert (caught.value.code.id, caught.value.status, caught.value.reply) == ("DOD703", 404, "rejected")
    assert len(acme.exchanges) == 1


@pytest.mark.parametrize(("token", "code"), [("wrong", "DOD701"), ("weak", "DOD702")])
def test_a_bad_token_is_named_by_its_variable_and_never_shown(acme, token, code):
    """401 and 403 are the user's to mend; the value is in no text."""
    with closing(Api(VENDOR, acme.url, ApiToken("ACME_TOKEN", token))) as api, pytest.raises(VendorError) as caught:
        make(api)
    assert (caught.value.code.id, caught.value.fault) == (code, "user")
    assert "`ACME_TOKEN`" in caught.value.fix
    assert token not in repr(api) + repr(caught.value) + str(caught.value.as_json()).replace("weaker", "")


def test_a_token_that_is_not_set_and_an_address_in_clear_text_are_refused_before_anything_is_sent():
    """Exit 2: it is the caller's surroundings that are wrong."""
    with pytest.raises(DodaiError) as caught:
        token_from({"ACME_TOKEN": " "}, "ACME_TOKEN", "Acme")
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD700", 2)
    with pytest.raises(DodaiError) as caught:
        Api(VENDOR, "http://api.acme.example", ApiToken("ACME_TOKEN", "sesame"))
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD709", 2)


def test_a_vendor_that_is_not_there_is_unavailable(acme):
    """Nothing was sent, so it is tried until the deadline."""
    url = acme.url
    acme.close()
    with closing(Api(VENDOR, url, ApiToken("ACME_TOKEN", "sesame"))) as api, pytest.raises(VendorError) as caught:
        make(api, deadline_s=1)
    assert (caught.value.code.id, caught.value.reply) == ("DOD705", "unavailable")


def test_all_callers_together_keep_the_documented_rate(acme):
    """A clock of our own: thirteen writes of five threads at one per second; of three at once one is kept back.

    What the first two may be late by on their way is then over before the vendor has to count a fourth.
    """
    now, guard = [0.0], threading.Lock()

    def pause(_: threading.Event, seconds: float) -> None:
        with guard:
            waits.append(seconds)

    waits: list[float] = []
    vendor = Vendor(name="Acme", rates={"box_make": Rate(1.0, 3)})
    api = Api(vendor, acme.url, ApiToken("ACME_TOKEN", "sesame"), clock=lambda: now[0], pause=pause)
    with closing(api), ThreadPoolExecutor(5) as callers:
        list(callers.map(lambda _: make(api), range(13)))
    assert sorted(waits) == [float(second) for second in range(1, 12)]
    assert api.calls == {("official", "box_make"): 13}


async def test_a_call_that_is_cancelled_sends_nothing_more(acme, api):
    """A step whose deadline is over must not change anything afterwards."""
    asked = threading.Event()
    acme.error = lambda status, _: asked.set() or Reply(status)
    acme.faults.add(ApiFault(kind="status", where="^POST", status=429, times=1000))
    task = asyncio.create_task(api.call(MAKE, body={"name": "a"}))
    await asyncio.to_thread(asked.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    acme.faults.clear()
    await asyncio.to_thread(api._threads.shutdown)
    assert acme.boxes == []
