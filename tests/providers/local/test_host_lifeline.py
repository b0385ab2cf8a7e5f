"""The descriptor that a bound host lives by."""

from __future__ import annotations

import os

from dodai.providers.local.host.host_client import HostClient, HostLifeline
from dodai.providers.local.host.state import StateFolder


def test_lifeline_is_let_go_once_whichever_copy_of_the_client_does_it(tmp_path):
    """A client under a token is a copy; the number may be that of another file by then."""
    reader, writer = os.pipe()
    client = HostClient(StateFolder(tmp_path), "local", lifeline=HostLifeline(writer))
    copy = client.under(3)
    client.lifeline.let_go()
    assert os.read(reader, 1) == b""
    again = os.dup(reader)
    try:
        copy.lifeline.let_go()
        os.fstat(again)
    finally:
        os.close(again)
        os.close(reader)
