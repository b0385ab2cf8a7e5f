"""How database, edge and sign-in of an environment stand to the manifest: for `doctor` and for `check --target`.

Read only. A row without a code and without `unseen` is as the manifest says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from dodai.core import proposal
from dodai.core.errors import DodaiError
from dodai.operations import codes
from dodai.operations.environment import Environment
from dodai.operations.ports import DoctorRow, KeptEdge, row_of_error
from dodai.operations.provider import unkept
from dodai.operations.run.network_probe import look_directly, look_through
from dodai.operations.run.preflight import FREE_BYTES

MIB = 2**20


def database_rows(here: Environment) -> Iterator[DoctorRow]:
    """Nothing where no service uses a database."""
    if not here.project.policy.database.used_by:
        return
    wanted, code = here.project.policy.database.major, codes.ACCOUNT_DATABASE
    try:
        if not asyncio.run(here.database.running()):
            fix = f"`{proposal.DEPLOY(env=here.name)}` starts it"
            yield DoctorRow("database", "warning", "does not run", fix=fix, unseen=True)
            return
        seen = here.database.inspect()
    except DodaiError as error:
        yield row_of_error("database", error, "every deploy", code)
        return
    if wanted in (0, seen.major):
        yield DoctorRow("database", "ok", f"PostgreSQL {seen.major}")
    else:
        said, fix = f"PostgreSQL {seen.major}", f"run PostgreSQL {wanted} here, or correct `[database].major`"
        yield DoctorRow("database", "warning", said, fix=fix, code=code)
    for said in seen.differs:
        yield DoctorRow("database", "warning", said, fix=code.fix.en, code=code)
    for said in seen.remarks:
        yield DoctorRow("database", "warning", said, code=code, remark=True)
    if seen.free_bytes is None:
        return
    lacking = seen.size_bytes + FREE_BYTES - seen.free_bytes
    said = f"{seen.free_bytes // MIB} MiB free, a copy takes about {seen.size_bytes // MIB} MiB"
    fix = f"free {lacking // MIB} MiB below {here.folder}" if lacking > 0 else ""
    needed_for = "a deploy with migrations" if fix else ""
    yield DoctorRow("restore point", "missing" if fix else "ok", said, needed_for, fix)


def edge_rows(here: Environment) -> Iterator[DoctorRow]:
    """Nothing where nobody else runs the edge."""
    edge, code = here.edge, codes.ACCOUNT_EDGE
    if not isinstance(edge, KeptEdge):
        return
    try:
        differs, remarks = asyncio.run(edge.observe()).differs, edge.remarks()
    except DodaiError as error:
        yield row_of_error("edge", error, "every deploy", code)
        return
    for said in differs:
        yield DoctorRow("edge", "warning", said, fix=f"`{proposal.DEPLOY(env=here.name)}` changes it", code=code)
    if not differs:
        yield DoctorRow("edge", "ok", "the zone is as the manifest says")
    for said in remarks:
        yield DoctorRow("edge", "warning", said, code=code, remark=True)


def around_rows(here: Environment) -> Iterator[DoctorRow]:
    """Whether the public service refuses who comes past an edge that somebody else runs; tried, not read anywhere."""
    if not isinstance(here.edge, KeptEdge):
        return
    through = look_through(next(iter(here.config.public_origins), ""))
    for address in here.config.ways_around_edge:
        seen, code = look_directly(address, through_edge=through), codes.ANSWERS_DIRECTLY
        if seen.unknown:
            yield DoctorRow("around the edge", "warning", f"not judged: {seen.unknown}", unseen=True)
        elif seen.let_in:
            yield DoctorRow("around the edge", "warning", "; ".join(seen.let_in), fix=code.fix.en, code=code)
        else:
            how = seen.refused_by or "without a key and with a forged one"
            yield DoctorRow("around the edge", "ok", f"`{address}` refuses: {how}")


def limit_rows(here: Environment) -> Iterator[DoctorRow]:
    """A row for each rate limit that nobody is held to."""
    for name in () if here.keeps_limits else here.project.policy.edge.limits:
        said, fix = unkept(name, here.name, here.config.provider_of("edge")), codes.LIMIT_NOT_KEPT.fix.en
        yield DoctorRow("rate limits", "warning", said, fix=fix, code=codes.LIMIT_NOT_KEPT)


def sign_in_rows(here: Environment) -> Iterator[DoctorRow]:
    """Nothing where no provider looks at sign-in."""
    code = codes.ACCOUNT_SIGN_IN
    if here.identity is None:
        return
    try:
        seen = asyncio.run(here.identity.observe())
    except DodaiError as error:
        yield row_of_error("sign-in", error, "people who sign in", code)
        return
    for said in seen.differs:
        yield DoctorRow("sign-in", "warning", said, fix=code.fix.en, code=code)
    for said in seen.remarks:
        yield DoctorRow("sign-in", "warning", said, code=code, remark=True)
    if not seen.differs:
        yield DoctorRow("sign-in", "ok", f"{seen.issuer} is as the manifest says")
