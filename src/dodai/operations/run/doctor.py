"""What this machine and its credentials can do for one environment, for `dodai doctor ENV`; reading changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from dodai.core import proposal
from dodai.core.errors import DodaiError
from dodai.engine.journal import Head
from dodai.engine.private_file import exposed
from dodai.operations.environment import Environment
from dodai.operations.ports import DoctorRow, LockHolder, RowState
from dodai.operations.run.account_rows import database_rows, edge_rows, limit_rows, sign_in_rows
from dodai.operations.run.gate_sources import own_gates
from dodai.operations.run.preflight import SKEW_NOTE_S, SKEW_STOP_S


def examine_environment(here: Environment) -> list[DoctorRow]:
    """A row for each thing a deploy would ask for: control database, lock, clock, copy, server, room, signers."""
    accounts = (*database_rows(here), *edge_rows(here), *limit_rows(here), *sign_in_rows(here))
    return [*_files(here), *_control(here), *accounts, *_gates(here)]


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
