"""What this machine and its credentials can do for one environment, for `dodai doctor ENV`; reading changes nothing."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator

from dodai.core import proposal
from dodai.core.errors import DodaiError
from dodai.engine.journal import Head
from dodai.engine.private_file import exposed
from dodai.operations.environment import Environment
from dodai.operations.ports import DoctorRow, KeptEdge, LockHolder, RowState
from dodai.operations.run.gate_sources import own_gates
from dodai.operations.run.preflight import FREE_BYTES, SKEW_NOTE_S, SKEW_STOP_S

MIB = 2**20


def examine_environment(here: Environment) -> list[DoctorRow]:
    """A row for each thing a deploy would ask for: control database, lock, clock, copy, server, room, signers."""
    return [*_files(here), *_control(here), *_database(here), *_edge(here), *_identity(here), *_gates(here)]


def _files(here: Environment) -> Iterator[DoctorRow]:
    for one in exposed(here.folder):
        yield DoctorRow("secrets", "warning", one.message, fix=one.fix)


def _control(here: Environment) -> Iterator[DoctorRow]:
    try:
        seen = here.control.inspect()
    except DodaiError as error:
        yield DoctorRow("control database", "missing", error.message, "every change", error.fix)
        return
    known = f"{seen.head.seq} records" if seen.head.seq else "nothing was ever done here"
    if not seen.where:
        said = f"the journal is a file on this machine, {known}" if seen.head.seq else known
        yield DoctorRow("control database", "ok", said)
        return
    if seen.newer:
        said, fix = f"{seen.where}: a newer dodai was there", "install the newer dodai"
        yield DoctorRow("control database", "missing", said, "every change", fix)
        return
    yield DoctorRow("control database", "ok", f"{seen.where}: {known}")
    yield _lock(here.name, seen.holder)
    yield _clock(seen.offset_s)
    yield _copy(here.name, here.control.copied_head(), seen.head, seen.copied)


def _lock(env: str, held: LockHolder | None) -> DoctorRow:
    if held is None:
        return DoctorRow("lock", "ok", "free")
    holder = held.holder
    said = f"`{holder.actor}` (pid {holder.pid} on `{holder.host}`) for {held.age}"
    if not held.is_alive:
        return DoctorRow(
            "lock", "warning", f"{said}, gone", fix=f"`{proposal.STATUS(env=env)}` says whether a plan is left"
        )
    return DoctorRow("lock", "warning", f"{said}; free in {held.left_s or 0:.0f} s without a sign of life")


def _clock(offset_s: float) -> DoctorRow:
    said = f"{offset_s:+.1f} s beside the control database"
    fix = "" if abs(offset_s) <= SKEW_NOTE_S else "set the clock of this machine (NTP)"
    verdict: RowState = "ok" if not fix else "warning" if abs(offset_s) <= SKEW_STOP_S else "missing"
    return DoctorRow("clock", verdict, said, "evidence, approvals, tokens" if fix else "", fix)


def _copy(env: str, copy: Head, database: Head, there: str) -> DoctorRow:
    """How the copy on this machine stands to the journal: a copy may be behind, never ahead or elsewhere."""
    if copy.seq == 0:
        return DoctorRow("journal copy", "ok", "none yet; it is made with the next change")
    if copy.seq > database.seq or there != copy.hash:
        said = f"record {copy.seq} here is not in the control database, which ends with {database.seq}"
        return DoctorRow(
            "journal copy",
            "missing",
            said,
            "every change",
            f"`{proposal.TRUST_DATABASE(env=env)}` or `--trust copy`: `{proposal.EXPLAIN(code='DOD375')}` says which",
        )
    behind = database.seq - copy.seq
    return DoctorRow(
        "journal copy", "ok", f"{behind} records behind, made good with the next change" if behind else "the same"
    )


def _database(here: Environment) -> Iterator[DoctorRow]:
    if not here.project.policy.database.used_by:
        return
    wanted = here.project.policy.database.major
    try:
        if not asyncio.run(here.database.running()):
            yield DoctorRow("database", "warning", "does not run", fix=f"`{proposal.DEPLOY(env=here.name)}` starts it")
            return
        seen = here.database.inspect()
    except DodaiError as error:
        yield DoctorRow("database", "missing", error.message, "every deploy", error.fix)
        return
    fits = wanted in (0, seen.major)
    fix = "" if fits else f"run PostgreSQL {wanted} here, or correct `[database].major`"
    yield DoctorRow("database", "ok" if fits else "warning", f"PostgreSQL {seen.major}", fix=fix)
    for remark in seen.remarks:
        yield DoctorRow("database", "warning", remark)
    if seen.free_bytes is None:
        return
    lacking = seen.size_bytes + FREE_BYTES - seen.free_bytes
    said = f"{seen.free_bytes // MIB} MiB free, a copy takes about {seen.size_bytes // MIB} MiB"
    fix = f"free {lacking // MIB} MiB below {here.folder}" if lacking > 0 else ""
    needed_for = "a deploy with migrations" if fix else ""
    yield DoctorRow("restore point", "missing" if fix else "ok", said, needed_for, fix)


def _edge(here: Environment) -> Iterator[DoctorRow]:
    """How an edge that somebody else runs stands to the manifest."""
    edge = here.edge
    if not isinstance(edge, KeptEdge):
        return
    try:
        differs, remarks = asyncio.run(edge.observe()).differs, edge.remarks()
    except DodaiError as error:
        yield DoctorRow("edge", "missing", error.message, "every deploy", error.fix)
        return
    for said in differs:
        yield DoctorRow("edge", "warning", said, fix=f"`{proposal.DEPLOY(env=here.name)}` changes it")
    if not differs:
        yield DoctorRow("edge", "ok", "the zone is as the manifest says")
    for said in remarks:
        yield DoctorRow("edge", "warning", said)


def _identity(here: Environment) -> Iterator[DoctorRow]:
    """How sign-in stands to the manifest, where a provider looks at it."""
    if here.identity is None:
        return
    try:
        seen = asyncio.run(here.identity.observe())
    except DodaiError as error:
        yield DoctorRow("sign-in", "missing", error.message, "people who sign in", error.fix)
        return
    for said in (*seen.differs, *seen.remarks):
        yield DoctorRow("sign-in", "warning", said)
    if not seen.differs:
        yield DoctorRow("sign-in", "ok", f"{seen.issuer} is as the manifest says")


def _gates(here: Environment) -> Iterator[DoctorRow]:
    try:
        gates = own_gates(here.project, here.config, here.project.root)
    except DodaiError as error:
        yield DoctorRow("gates", "missing", error.message, "every deploy", error.fix)
        return
    asked = [f"evidence of level {gates.evidence}"] if gates.protected else []
    asked += [f"{gates.approvals} approvals"] if gates.approvals else []
    asked += [f"{len(gates.freeze)} freeze windows"] if gates.freeze else []
    yield DoctorRow("gates", "ok", ", ".join(asked) or "none: not protected")
    if not gates.approvals:
        return
    keys = [line for line in gates.signers.splitlines() if line.strip() and not line.startswith("#")]
    few = len(keys) < gates.approvals
    said = f"{len(keys)} keys in {here.config.allowed_signers}"
    fix = f"{gates.approvals} approvals need as many" if few else ""
    yield DoctorRow("allowed_signers", "missing" if few else "ok", said, "approvals" if few else "", fix)
    if shutil.which("ssh-keygen") is None:
        yield DoctorRow("ssh-keygen", "missing", "not on the PATH", "every deploy here", "install OpenSSH 8.2 or newer")
