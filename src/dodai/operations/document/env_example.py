"""`.env.example`: every variable that the manifest declares, without a value.

dodai owns the lines between its markers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import wrap

from dodai.operations.policy import DeclaredSetting, OperationsPolicy, Secret

BEGIN, END = "# dodai:begin variables", "# dodai:end variables"
_REGION = re.compile(rf"(?m)^{BEGIN}[ \t]*\r?\n(.*?)^{END}[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_WIDTH = 118


def env_example(policy: OperationsPolicy) -> str:
    """The lines between the markers; empty when the manifest declares nothing that a person has to know."""
    blocks = [*(_secret(one) for one in policy.secrets.values()), *(_setting(one) for one in policy.settings.values())]
    if not blocks:
        return ""
    head = "# From dodai.toml by `dodai docs`; write outside of these markers. The values of an environment are kept by"
    return "\n\n".join([f"{head}\n# `dodai secrets set ENV NAME`, never in a file of the repository.", *blocks]) + "\n"


def _secret(one: Secret) -> str:
    said = [f"secret of {_who(one.used_by)}", f"owner: {one.owner}" if one.owner else ""]
    said.append("several values are recognised, `new,old`" if one.rotation == "overlap" else "")
    said.append("its issuer makes the value" if one.rotation == "external" else "")
    return f"{_comment('; '.join(part for part in said if part))}\n{one.name}="


def _setting(one: DeclaredSetting) -> str:
    said = f"{_who(one.used_by)}: {one.about}" if one.about else _who(one.used_by)
    return f"{_comment(f'{said}; when not set: {one.default}' if one.default else said)}\n# {one.name}="


def _who(services: tuple[str, ...]) -> str:
    return ", ".join(services) or "no service"


def _comment(text: str) -> str:
    return "\n".join(f"# {line}" for line in wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False))


def region_of(old: str | None) -> str | None:
    """What stands between the markers; None without them."""
    found = _REGION.search(old or "")
    return found[1] if found else None


def lone_marker(old: str) -> int:
    """The line, from 1, of a marker without its other half; 0 when there is none."""
    found = _REGION.search(old)
    lone = [m.start() for m in _markers(old) if not (found and found.start() <= m.start() < found.end())]
    return old.count("\n", 0, lone[0]) + 1 if lone else 0


def _markers(text: str) -> Iterator[re.Match[str]]:
    return re.finditer(rf"(?m)^(?:{BEGIN}|{END})\b", text)


def with_region(old: str | None, text: str) -> str:
    """`old` with `text` between the markers, which are added at its end when they are not there."""
    block = f"{BEGIN}\n{text}{END}\n"
    if not old:
        return block
    if _REGION.search(old):
        return _REGION.sub(lambda _: block, old, count=1)
    return old + ("\n" if old.endswith("\n") else "\n\n") + block
