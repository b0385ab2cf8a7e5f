"""The context of one request: ids, spans, traceparent."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from dodai.core.line import trace_parent_of
from dodai.core.request import (
    RequestContext,
    bind,
    current,
    format_request_id,
    format_span_id,
    format_traceparent,
    is_minted,
    is_request_id,
    is_trace_id,
    parse_traceparent,
    time_ms_of,
    unbind,
)


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**74 - 1))
def test_minted_id_is_valid_carries_its_time_and_is_a_trace_id(now_ms: int, bits: int):
    """One id serves as request id and as W3C trace id."""
    request_id = format_request_id(now_ms, bits)
    assert is_request_id(request_id.encode())
    assert is_minted(request_id)
    assert is_trace_id(request_id)
    assert time_ms_of(request_id) == now_ms


@given(st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=5), st.integers(0, 2**74 - 1))
def test_minted_ids_sort_by_time(times: list[int], bits: int):
    """Which is what lets a file of lines be bisected."""
    ids = [format_request_id(at, bits) for at in sorted(times)]
    assert ids == sorted(ids)


@given(st.integers(0, 2**60), st.integers(1, 200_000))
def test_call_span_names_its_caller(bits: int, calls: int):
    """Also after more calls than four digits count, and never the span of the request itself."""
    context = RequestContext()
    context.span_id = format_span_id(bits)
    context.calls = calls - 1
    span_id = context.next_span_id()
    assert len(span_id) == 16
    assert span_id != context.span_id
    assert trace_parent_of(span_id) == context.span_id


@given(st.binary(max_size=70))
def test_any_traceparent_is_parsed_or_refused(value: bytes):
    """No header makes it raise, and what it accepts is well-formed."""
    parsed = parse_traceparent(value)
    if parsed is not None:
        trace_id, span_id, _ = parsed
        assert is_trace_id(trace_id)
        assert span_id != "0" * 16


def test_traceparent_round_trip():
    """What we send is what we read."""
    trace_id, span_id = format_request_id(1, 2), format_span_id(3)
    assert parse_traceparent(format_traceparent(trace_id, span_id).encode()) == (trace_id, span_id, "01")


async def test_context_follows_tasks_and_is_undone():
    """A task has its spawner's request; unbinding ends it."""
    context = RequestContext()
    token = bind(context)

    async def seen() -> RequestContext | None:
        return current()

    assert await asyncio.create_task(seen()) is context
    unbind(token)
    assert current() is None


def test_sub_lines_are_bounded():
    """A request that makes ten thousand failing calls does not keep ten thousand lines."""
    context = RequestContext()
    for index in range(10_000):
        context.add_sub_line({"ts": index})
    assert len(context.sub_lines or ()) == 32


def test_contexts_share_nothing():
    """Defaults stand on the class; what one request sets, another does not see."""
    first, second = RequestContext(), RequestContext()
    first.note("csrf", "ok")
    first.add_sub_line({})
    first.db_count += 1
    assert (second.extra, second.sub_lines, second.db_count) == (None, None, 0)
    assert "first" not in repr(second)
