"""Proposals: every command that a message, a state or a report offers as the next one. Nothing else prints one.

Each is in `ALL` with the state in which it is offered; a test carries it out in that state.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from dodai.core.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Proposal:
    """`text` is what to type, with the words of the state in braces; in capitals what only the person knows.

    `state` says where it is offered, as a clause after "where".
    """

    text: str
    state: str

    def __call__(self, **words: str) -> str:
        """The command line with its words, quoted as a shell needs them; `KeyError` for one that is missing."""
        return self.text.format_map({name: shlex.quote(word) for name, word in words.items()})


# -- an environment
STATUS = Proposal("dodai status {env}", "nobody can say how it stands, or it changed meanwhile")
STATUS_WAIT = Proposal("dodai status {env} --wait", "it comes back by itself")
HISTORY = Proposal("dodai history {env}", "a plan is not known, or not unfinished")
RELEASES = Proposal("dodai releases {env}", "a release or restore point is not known")
UP = Proposal("dodai up {env}", "the Host is stopping or has ended")
DOWN = Proposal("dodai down {env}", "something of it still runs, here or at another place")
DOWN_ANYHOW = Proposal("dodai down {env} --break-glass REASON", "its control database is away and it has to stop")
DEPLOY = Proposal("dodai deploy {env}", "nothing was ever deployed, or a fixed release is wanted")
DEPLOY_IMAGE = Proposal(
    "dodai deploy {env} --image {service}=REGISTRY/NAME@sha256:DIGEST", "a release has no image where it runs as one"
)
RESTART = Proposal("dodai restart {env}", "less runs than is on record, or with older values")
RESTART_SERVICE = Proposal("dodai restart {env} {service}", "a service runs with other values than those stored")
LOGS = Proposal("dodai logs {env}", "a part that has no log was asked for")
LOGS_SERVICE = Proposal("dodai logs {env} {service}", "a service runs and is not ready")
ROLLBACK = Proposal("dodai rollback {env}", "what serves is not ready, and an earlier release did serve")
ROLLBACK_RESTORE = Proposal(
    "dodai rollback {env} {release} --restore {point}", "a release does not fit the schema, and a restore point does"
)
REPLACED_EXPORT = Proposal("dodai replaced {env} --export FOLDER", "a restore replaced rows that nobody has yet")
RESUME = Proposal("dodai resume {env}", "a plan has not ended")
RESUME_UNDO = Proposal("dodai resume {env} --undo", "a plan has not ended, or may not go on")
TRUST_DATABASE = Proposal(
    "dodai resume {env} --trust database", "the journal and its copy differ, or the copy is broken"
)
TRUST_COPY = Proposal("dodai resume {env} --trust copy", "the journal and its copy differ")
TAKE_OVER = Proposal("dodai resume {env} --take-over REASON", "the environment lives at a place that is gone")
APPROVE = Proposal("dodai approve {plan}", "a plan lacks an approval")
REHEARSE_RECORD = Proposal("dodai rehearse --record {env}", "a protected environment lacks evidence")
DOCTOR = Proposal("dodai doctor", "the interpreter of the project cannot be started")

# -- migrations
MIGRATE_STATUS = Proposal("dodai migrate status", "a version or the record of a run is in question")
MIGRATE_UP = Proposal("dodai migrate up", "a migration failed and was corrected")
MIGRATE_NEW = Proposal("dodai migrate new NAME", "there is no migration, or it needs another version")
MIGRATE_CHECK = Proposal("dodai migrate check", "the files were not tried on a database")
MIGRATE_ADOPT = Proposal("dodai migrate adopt", "a database has tables and no record of what made them")
MIGRATE_BESIDE = Proposal("dodai migrate up --beside-tables", "tables without a record are not of these files")
MIGRATE_REPAIR = Proposal("dodai migrate repair {version} --reason TEXT", "an applied file was edited, and is right")
MIGRATE_SETTLE = Proposal(
    "dodai migrate repair {version} --statement {number} --was done|undone --reason TEXT",
    "nobody can tell whether a statement took effect",
)
MIGRATE_ADOPT_BASELINE = Proposal("dodai migrate adopt --baseline {version}", "files of applied migrations are gone")
MIGRATE_ADOPT_AT = Proposal("dodai migrate adopt --at {version}", "several versions build the schema that is there")

# -- secrets
SECRETS_LIST = Proposal("dodai secrets list {env}", "a rotation does not fit how the secret stands")
SECRETS_SET = Proposal("dodai secrets set {env} {name}", "a secret has no value, or only its issuer makes one")
SECRETS_ROTATE = Proposal("dodai secrets rotate {env} {name}", "a secret is older than it may be")
SECRETS_FINISH = Proposal("dodai secrets rotate {env} {name} --finish", "nothing made with the old value is in use")

# -- the repository, and what was seen of it
CHECK = Proposal("dodai check {area}", "something was not judged")
REHEARSE = Proposal("dodai rehearse", "a journey was not walked, or a rehearsal failed")
REHEARSE_ONLY = Proposal("dodai rehearse --only {name}", "one drill did not go as expected")
DOCS = Proposal("dodai docs", "a document is not what the definition renders")
DOCS_FORCE = Proposal("dodai docs --force", "a document was edited outside of its keep regions")
EXPLAIN = Proposal("dodai explain {code}", "a finding or a refusal is shown")
EXPLAIN_CODES = Proposal("dodai explain", "a code is not known")
EXPLAIN_MANIFEST = Proposal("dodai explain manifest", "there is no manifest, or it lacks a table")
EXPLAIN_SCHEMA = Proposal("dodai explain manifest --schema", "the schema was asked of a code")
TRACE = Proposal("dodai trace {request}", "a request is shown as an example")
TRACE_HELP = Proposal("dodai trace --help", "`trace` was given too many words")
WATCH_ONCE = Proposal("dodai watch {env} --once", "an alert fires")
ROUTES = Proposal("dodai routes", "requests without a token are refused more often than before")
ALERTS_REPLAY = Proposal("dodai alerts test --last 6h", "nobody evaluated alerts for a while")
ALERTS_LIST = Proposal("dodai alerts list", "an alert is not known")
WATCH = Proposal("dodai watch {env}", "alerts were not evaluated for a while")

ALL: Mapping[str, Proposal] = {name: value for name, value in globals().items() if isinstance(value, Proposal)}

_QUOTED = re.compile(r"`dodai ([a-z]+)([^`]*)`")
_SAYS_WHAT_TO_DO = frozenset(("fix", "next", "remedy", "details"))
"""The keys of documents under which commands are proposed. Whatever else a document holds, a line of a log or a command
on record, is shown as it is."""


def addressed(text: str, options: Mapping[str, str]) -> str:
    """`text` whose commands name the place they are meant for: `options` has words to add, by command or `""` for all.

    Commands that take no manifest stay as they are.
    """

    def add(found: re.Match[str]) -> str:
        verb, rest = found.groups()
        if verb in ("explain", "completion"):
            return found.group()
        words = [options[key] for key in (verb, "") if options.get(key) and options[key].split()[0] not in rest.split()]
        return f"`dodai {' '.join([verb + rest, *words])}`"

    return _QUOTED.sub(add, text) if options else text


def addressed_document(value: Any, options: Mapping[str, str], key: str = "") -> Any:
    """The same for a document: a value under `next` is a command line, and in other words it stands in backticks."""
    if not options:
        return value
    if isinstance(value, Mapping):
        return {name: addressed_document(part, options, name) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [addressed_document(part, options, key) for part in value]
    if not isinstance(value, str) or key not in _SAYS_WHAT_TO_DO:
        return value
    return addressed(f"`{value}`", options)[1:-1] if key == "next" else addressed(value, options)
