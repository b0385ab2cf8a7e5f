"""Words of a command line that name something: what a shell offers for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem


class Named(click.types.StringParamType):
    """A string that a shell completes from `names`; nothing is offered where those cannot be read."""

    def __init__(self, names: Callable[[click.Context], Iterable[str]]) -> None:
        self._names = names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        del param
        try:
            return [CompletionItem(name) for name in self._names(ctx) if name.startswith(incomplete)]
        except Exception:  # noqa: BLE001 - a shell that waits for names must get none, not a traceback
            return []


def _environments(context: click.Context) -> Iterable[str]:
    from dodai.wiring.find_project import find_project

    return find_project(context.params.get("manifest")).environments


def _releases(context: click.Context) -> Iterable[str]:
    from dodai.wiring import environments
    from dodai.wiring.find_project import find_project

    project = find_project(context.params.get("manifest"))
    return environments.open(project, context.params["env"]).artifacts.published()


def _codes(_: click.Context) -> Iterable[str]:
    from dodai.wiring.registry import codes

    return ("manifest", *codes())


_TYPES = {"env": Named(_environments), "target": Named(_environments), "record": Named(_environments)}
_TYPES |= {"release": Named(_releases), "what": Named(_codes)}


def complete_names(parameters: Iterable[Any]) -> None:
    """Give the arguments and options that name an environment, a release or a code their completion."""
    for parameter in parameters:
        if parameter.name in _TYPES and type(parameter.type) is click.types.StringParamType:
            parameter.type = _TYPES[parameter.name]
