"""The rules about the variables of an application: what its sources read beside what the manifest declares."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from difflib import get_close_matches
from pathlib import Path
from typing import ClassVar

from dodai.core.code_page import Level
from dodai.core.dataclass import dataclass
from dodai.core.fact import Cost, NotApplicable, Unknown
from dodai.core.finding import Finding, Place
from dodai.core.manifest import Manifest
from dodai.core.rule import declared, rule
from dodai.core.text import counted
from dodai.operations import codes
from dodai.operations.check.secrets import place_of
from dodai.operations.check.variable_reads import GivenValue, Read, given_in, is_configuration, language_of, reads_of
from dodai.operations.policy import OperationsPolicy
from dodai.operations.secret import KEY_RINGS

MAX_BYTES, MAX_FILES = 1024 * 1024, 5000
TYPED_WRONG = 0.85
"""How alike two names are, of 1, when one is a typing error for the other: `OIDC_CLIENT_ID` is none for `…_SECRET`."""
_PLATFORM = re.compile(
    r"PATH|HOME|PWD|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TERM|COLUMNS|HOSTNAME|TMPDIR|TMP|TEMP|EDITOR|DISPLAY"
    r"|CI|NO_COLOR|FORCE_COLOR|VIRTUAL_ENV|PORT|NODE_ENV|NODE_\w+|npm_\w+|PYTHON\w+|PIP_\w+|UV_\w+|GO[A-Z]+"
    r"|SSL_CERT_\w+|XDG_\w+|PG[A-Z]+|GITHUB_\w+|RUNNER_\w+|FLY_\w+|MODE|DEV|PROD|SSR|BASE_URL"
)
"""What a platform, a language or a tool sets: nobody has to declare it."""
_FIT = re.compile(r"[A-Z][A-Z0-9_]{0,127}")
_IN_THE_BROWSER = ("VITE_", "NEXT_PUBLIC_", "PUBLIC_", "REACT_APP_")
"""What bundlers write into the JavaScript that everybody gets, by the prefix of the name."""
_SOUNDS_SECRET = re.compile(r"(?:^|_)(?:SECRET|PASSWORD|PASSWD|TOKEN|API_KEY|PRIVATE_KEY|CREDENTIALS?)S?(?:_KEYS?)?$")


@dataclass(frozen=True, slots=True)
class Variables:
    """Where variables are read and given, in the sources of the application; `words` is every name that stands there.

    `gaps` are files that could not be looked at.
    """

    cost: ClassVar[Cost] = "static"
    reads: tuple[Read, ...]
    given: tuple[GivenValue, ...]
    words: frozenset[str]
    files: Mapping[str, int] = field(default_factory=dict)
    gaps: tuple[Unknown, ...] = ()

    @property
    def seen(self) -> str:
        languages = ", ".join(f"{language} {count}" for language, count in self.files.items())
        names = len({one.name for one in self.reads})
        files = counted(sum(self.files.values()), "file")
        return f"operations: {counted(names, 'variable')} read in {files} ({languages})"


def gather_variables(root: Path, paths: Iterable[str]) -> Variables | NotApplicable:
    """What the files `paths` below `root` read; not applicable where none is in a language that can be read."""
    texts: dict[str, str] = {}
    gaps: list[Unknown] = []
    for path in paths:
        if not (language_of(path) or is_configuration(path)):
            continue
        if len(texts) >= MAX_FILES:
            gaps.append(Unknown(f"more than {MAX_FILES} files: the rest was not searched for variables"))
            break
        try:
            if (root / path).stat().st_size <= MAX_BYTES:
                texts[path] = (root / path).read_text("utf-8")
            else:
                gaps.append(Unknown(f"`{path}` is larger than {MAX_BYTES // 1024} KiB, so it was not searched"))
        except FileNotFoundError:
            continue  # git knows it, the working tree does not have it any more
        except (OSError, UnicodeDecodeError) as error:
            gaps.append(Unknown(f"`{path}` cannot be read: {type(error).__name__}"))
    languages = [language for path in texts if (language := language_of(path))]
    if not texts and not gaps:
        return NotApplicable("there is no source in Python, JavaScript, TypeScript or Go")
    given = sorted(one for path, text in texts.items() if is_configuration(path) for one in given_in(path, text))
    words = frozenset(word for text in texts.values() for word in re.findall(r"\b[A-Za-z_]\w*", text))
    counts = {language: languages.count(language) for language in dict.fromkeys(languages)}
    return Variables(reads_of(texts), tuple(given), words, counts, tuple(gaps))


def declared_names(policy: OperationsPolicy) -> dict[str, str]:
    """Every name that the manifest declares for some service, and the kind of thing it is there."""
    found = dict.fromkeys(KEY_RINGS, "secret")
    found |= {f"{re.sub(r'[^A-Za-z0-9]', '_', need).upper()}_ADDR": "address" for need in policy.services}
    if policy.database.used_by:
        found[policy.database.variable] = "database"
    for service in policy.services.values():
        found |= dict.fromkeys(service.env, "value")
    for client in policy.clients.values():
        found |= dict.fromkeys(client.env, "value")
    return found | dict.fromkeys(policy.settings, "setting") | dict.fromkeys(policy.secrets, "secret")


@rule(codes.VARIABLE_UNDECLARED, needs=(Manifest, Variables))
def every_variable_is_declared(manifest: Manifest, variables: Variables) -> Iterator[Finding]:
    known = declared_names(OperationsPolicy.from_manifest(manifest))
    first: dict[str, Read] = {}
    for read in variables.reads:
        if not _is_known(read.name, known) and (read.name not in first or read.required > first[read.name].required):
            first[read.name] = read
    for name, read in first.items():
        others = len({(one.path, one.line) for one in variables.reads if one.name == name}) - 1
        more = f" (and in {counted(others, 'other place')})" if others else ""
        near = get_close_matches(name, sorted(known), n=1, cutoff=TYPED_WRONG)
        fix = f"did you mean `{near[0]}`? Else " if near else ""
        fix += f"declare it: `[secret.{name}]` for a secret, `[setting.{name}]` for anything else"
        said = f"`{name}` is read{more}, and the manifest does not declare it"
        level: Level = "error" if read.required else "warning"
        yield Finding(codes.VARIABLE_UNDECLARED, said, Place(read.path, read.line), fix=fix, level=level)


@rule(codes.VARIABLE_UNUSED, needs=(Manifest, Variables))
def every_declared_variable_is_read(manifest: Manifest, variables: Variables) -> Iterator[Finding]:
    policy = OperationsPolicy.from_manifest(manifest)
    for kind, names in (("secret", policy.secrets), ("setting", policy.settings)):
        for name in names:
            if name not in variables.words and name not in KEY_RINGS:
                said = f"`{name}` stands in no source that was searched"
                yield Finding(codes.VARIABLE_UNUSED, said, place_of(manifest, kind, name))


@rule(codes.VARIABLE_UNUSED, needs=(Manifest, Variables))
def every_value_has_a_reader(manifest: Manifest, variables: Variables) -> Iterator[Finding]:
    """Only where a name looks like one that is read: what else a platform is told is its own."""
    known = declared_names(OperationsPolicy.from_manifest(manifest))
    read = {one.name for one in variables.reads}
    for given in variables.given:
        if given.name in read or _is_known(given.name, known):
            continue
        if near := get_close_matches(given.name, sorted({*known, *read}), n=1, cutoff=TYPED_WRONG):
            said = f"`{given.name}` gets a value here, and no source reads it"
            place = Place(given.path, given.line)
            yield Finding(codes.VARIABLE_UNUSED, said, place, fix=f"did you mean `{near[0]}`?")


@rule(codes.VARIABLE_NAME_UNFIT, needs=(Manifest,))
def every_variable_has_a_fit_name(manifest: Manifest) -> Iterator[Finding]:
    policy = OperationsPolicy.from_manifest(manifest)
    for kind, names in (("secret", policy.secrets), ("setting", policy.settings)):
        for name in names:
            if reason := _unfit(kind, name):
                said = f"`{name}` cannot be the name of a {kind}: {reason}"
                yield Finding(codes.VARIABLE_NAME_UNFIT, said, place_of(manifest, kind, name))
    for name in policy.secrets.keys() & policy.settings.keys():
        said = f"`{name}` is declared as a secret and as a setting"
        yield Finding(codes.VARIABLE_NAME_UNFIT, said, place_of(manifest, "setting", name))


def _unfit(kind: str, name: str) -> str:
    if not _FIT.fullmatch(name):
        return "capitals, digits and `_`, a letter first"
    if name.startswith("DODAI_") and name not in KEY_RINGS:
        return "names that begin with `DODAI_` are dodai's own"
    if _PLATFORM.fullmatch(name):
        return "the platform sets a variable of that name"
    prefix = next((one for one in _IN_THE_BROWSER if name.startswith(one)), "")
    if kind == "secret" and prefix:
        return f"bundlers write what begins with `{prefix}` into the JavaScript that every visitor gets"
    return ""


@rule(codes.SECRET_IN_FILE, needs=(Manifest, Variables))
def no_secret_stands_in_a_file(manifest: Manifest, variables: Variables) -> Iterator[Finding]:
    policy = OperationsPolicy.from_manifest(manifest)
    for given in variables.given:
        if given.literal and (given.name in policy.secrets or given.name in KEY_RINGS):
            said = f"`{given.name}` is a secret, and its value stands here"
            yield Finding(codes.SECRET_IN_FILE, said, Place(given.path, given.line))


@rule(codes.SECRET_IN_FILE, needs=(Manifest, Variables))
def no_secret_has_a_value_in_a_source(manifest: Manifest, variables: Variables) -> Iterator[Finding]:
    secrets = {*OperationsPolicy.from_manifest(manifest).secrets, *KEY_RINGS}
    for read in variables.reads:
        if read.has_value and read.name in secrets:
            said = f"`{read.name}` is a secret, and what stands here is used when it is not set"
            fix = "let the service fail to start without it: whoever reads the source knows this value"
            yield Finding(codes.SECRET_IN_FILE, said, Place(read.path, read.line), fix=fix)


@rule(codes.SECRET_IN_FILE, needs=(Manifest,))
def no_secret_stands_in_the_manifest(manifest: Manifest) -> Iterator[Finding]:
    policy = OperationsPolicy.from_manifest(manifest)
    for kind, parts in (("service", policy.services), ("client", policy.clients)):
        for owner, part in parts.items():
            for name, value in part.env.items():
                if value and (name in policy.secrets or _SOUNDS_SECRET.search(name)):
                    said = f"`{name}` in `env` of `[{kind}.{owner}]` is a secret by its name, and its value stands here"
                    yield Finding(codes.SECRET_IN_FILE, said, place_of(manifest, kind, owner, "env"))


def _is_known(name: str, known: Mapping[str, str]) -> bool:
    return name in known or name.startswith("DODAI_") or _PLATFORM.fullmatch(name) is not None


RULES = declared(globals())
