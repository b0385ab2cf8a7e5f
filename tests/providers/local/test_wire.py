from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodai.core.errors import DodaiError
from dodai.operations.ports import (
    CacheRule,
    EdgeSpec,
    Fault,
    HostStatus,
    Instance,
    ProcessSpec,
    ProcessStatus,
    ServiceProbe,
    ServiceSpec,
    ServiceStatus,
)
from dodai.providers.local.codes import CODES, DEADLINE_PASSED
from dodai.providers.local.host import client, wire

TEXT = st.text(max_size=8)
SERVICE = st.builds(ServiceStatus, instances=st.tuples(st.builds(Instance, exit_code=st.none() | st.integers(0, 255))))
PROCESS = st.builds(ProcessStatus, exit_code=st.none() | st.integers(0, 255))
VALUES = st.one_of(
    st.builds(HostStatus, services=st.tuples(SERVICE, SERVICE), processes=st.tuples(PROCESS)), st.builds(ServiceSpec), st.builds(ProcessSpec), st.builds(EdgeSpec, cache=st.tuples(st.builds(CacheRule))), st.builds(ServiceProbe),
    st.builds(Instance), st.builds(Fault, after_bytes=st.integers(0, 10)),
)  # fmt: skip


@given(VALUES)
def test_every_value_of_the_port_survives_the_wire(value):
    """What the client reads is what the host said, nested values, mappings and None included."""
    assert repr(wire.read(type(value), json.loads(wire.line({"value": value}))["value"])) == repr(value)  # nan != nan


@given(VALUES)
def test_a_field_of_a_newer_version_is_ignored(value):
    """A host of the next release can be asked by this one."""
    data = json.loads(wire.line({"value": value}))["value"]
    assert repr(wire.read(type(value), {**data, "added_later": 1})) == repr(value)


@given(st.sampled_from(CODES), TEXT, st.integers(0, 143), st.lists(TEXT).map(tuple))
def test_an_error_keeps_its_code_its_words_and_its_exit_code(code, words, exit_code, details):
    """The person at the terminal reads the same as somebody on the host would."""
    error = DodaiError(code, words, words, "provider", exit_code, details, {"n": 1})
    again = wire.read_error(json.loads(json.dumps(wire.error_data(error))))
    kept = ("code", "message", "fix", "fault", "exit_code", "details", "data")
    assert [getattr(again, name) for name in kept] == [getattr(error, name) for name in kept]


@pytest.mark.parametrize(("heard", "reply"), [(True, "ambiguous"), (False, "rejected")])
async def test_call_without_an_answer_is_ambiguous_only_when_somebody_heard_it(heard, reply, tmp_path):
    """A host that dies over a call may have done it; one that is not there and not coming back will not."""
    host = client(tmp_path, "staging")

    async def die(reader, writer):
        await reader.readline()
        writer.transport.abort()

    server = await asyncio.start_unix_server(die, str(host.folder.socket)) if heard else None
    with pytest.raises(DodaiError) as caught:
        await host.switch("web", "r1")
    assert (caught.value.code.id, caught.value.reply) == ("DOD398", reply)
    if server:
        server.close()


def test_what_became_of_a_call_survives_the_wire():
    """The host says that a deadline passed; the client must know that this settles nothing."""
    late = DodaiError(DEADLINE_PASSED, "too late", "look", "provider", reply="ambiguous")
    assert wire.read_error(wire.error_data(late)).reply == "ambiguous"
    assert wire.read_error({"code": "DOD393", "fault": "user"}).reply == "rejected"
