"""Another web tier in the place of a service: the manifest in which it is chosen."""

from __future__ import annotations

import re

from dodai.core import codes, proposal
from dodai.core.errors import DodaiError
from dodai.core.suggestion import did_you_mean
from dodai.operations.project import Project


def with_client(project: Project, name: str) -> Project:
    """`project` with `client = "NAME"` in the service whose place that one takes; as it is for an empty name.

    Every release that is made of it carries that manifest, so whatever goes back to one, or rehearses it, runs the same
    tier. DOD051 for a name that no `[client.NAME]` has.
    """
    if not name:
        return project
    clients = project.policy.clients
    if name not in clients:
        fix = did_you_mean(name, clients) if clients else f"write a `[client.NAME]`: `{proposal.EXPLAIN_MANIFEST()}`"
        raise DodaiError(codes.UNKNOWN_WORD, f"there is no `[client.{name}]`", fix, exit_code=2)
    service = clients[name].service
    chosen = project.with_manifest(_with_key(project.manifest.text, service, name))
    if chosen.policy.services[service].client != name:
        fix = f'write `client = "{name}"` into it'
        said = f"`[service.{service}]` is not a table of its own in `{project.manifest.path}`"
        raise DodaiError(codes.UNKNOWN_WORD, said, fix, exit_code=2)
    return chosen


def _with_key(text: bytes, service: str, name: str) -> bytes:
    """The text with the key in that table; what is in the way (a `client` of its own) is replaced."""
    header = rf"(?m)^[ \t]*\[service\.{re.escape(service)}\][^\n]*\n"
    lines = text.decode("utf-8-sig")
    match = re.search(header, lines)
    if match is None:
        return text
    rest = lines[match.end() :]
    following = re.search(r"(?m)^[ \t]*\[", rest)
    end = following.start() if following is not None else len(rest)
    own = re.sub(r"(?m)^[ \t]*client[ \t]*=[^\n]*\n", "", rest[:end])
    return f'{lines[: match.end()]}client = "{name}"\n{own}{rest[end:]}'.encode()
