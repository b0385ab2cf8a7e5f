"""Whose application a process serves: whether the manifest is its own, and the service that the process names.

A server, a process manager or a library that stands on the stack is evidence for neither: only a file of the project
itself, and what a service of the manifest names as its application.
"""

from __future__ import annotations

import functools
import gc
import inspect
import sys
import sysconfig
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, ClassVar

from dodai.csrf.policy import checked_services, service_here
from dodai.frameworks.around import others, own_layers, sought, unwrap, without_layers
from dodai.runtime.config import RuntimeConfig
from dodai.runtime.service_modules import (
    ServiceModules,
    has_own_rules,
    is_installed,
    is_library,
    lies_at,
    rows_of,
    targets,
)

_NODE = frozenset({"{node}", "node"})
"""What runs no Python; `npm` and its like start whatever a project tells them."""


def stranger_to(file: Path, sections: Mapping[str, Any]) -> str:
    """The source file of the application that is calling, when nothing says that the manifest `file` is its own.

    Empty where something does: a file of the application lies in or below the folder of the manifest, or it was typed
    in (`python -c`) in that folder. What is installed there, or has a manifest or a repository of its own further
    inside, has to be the module that a service of the manifest serves.
    """
    folder, strangers, rows = file.resolve().parent, list[tuple[bool, str]](), rows_of(sections).values()
    modules = ServiceModules(folder, sections)
    named = [(row, module) for row in rows for module, _ in targets(row)]
    for name, path in _callers():
        installed = is_installed(path, folder)
        if installed:
            known = any(module == name for _, module in named)
        elif has_own_rules(path, folder):
            known = any(module == name and modules.has(row, module, path) for row, module in named)
        else:
            known = path.is_relative_to(folder)
        if known:
            return ""
        strangers.append((installed, str(path)))
    return min(strangers, key=lambda one: one[0])[1] if strangers else ""


class OwnApplication:
    """Whether the application `app`, which `layer` is being put around, is that of the service that `config` names.

    It is the object that the service names, in its `app` or by its command: this layer around it, or the application
    itself without any. Where nothing is named, or the factory that wraps it, or middleware that keeps it, it is the
    only one that the process has wrapped. It is never one that another service names, or made, whose requests are
    checked, unless this one names the very object.

    `doubt` says why it cannot be; what is seen only when the modules are loaded, `is_own` says for each request. Not
    `strict`, while developing: several may be wrapped, as by tests, and a name counts only beside another service.
    """

    known: ClassVar[list[Callable[[], Any]]] = []
    """References to all that this process has wrapped."""

    def __init__(self, app: Any, layer: Any, config: RuntimeConfig, *, strict: bool) -> None:
        rows = rows_of(config.sections)
        self._strict = strict
        self._given = config.service
        self._name = name = service_here(config.service, rows)
        self._row = rows.get(name) or {}
        folder = config.manifest.resolve().parent if config.manifest is not None else None
        self._places = ServiceModules(folder, config.sections)
        self._rivals = {
            other: rows[other] for other in checked_services(rows) if other != name and _may_be(rows[other])
        }
        self._named = targets(self._row)
        self.is_settled = not strict and not self._rivals
        self._rival = ""
        self._found: dict[str, tuple[Any, ...]] = {}
        self._collected = self._modules = 0
        self._wrapped, self._layer = (unwrap(app), sought(app), app), weakref.ref(layer)
        self._codes = frozenset(frame.f_code for frame in _frames())
        self._makers = frozenset(_makers())
        self._note(self._wrapped[0])
        callers = list(_callers())
        self.doubt = self._doubt(callers, config.found) if self._row else self._doubt_of_all(callers)

    @property
    def is_another(self) -> bool:
        """Whether what the manifest says of its services is not seen to be of this application."""
        named = self._strict or bool(self._named) or not self._row
        return bool(self.doubt) and named and not self.is_settled

    def is_apart(self) -> bool:
        """The same at a request, when the modules are loaded."""
        if self.is_settled:
            return False
        if self._row:
            return not self.is_own() and bool(self._named or self._rival)
        self._look()
        return bool(self._rivals) and all(map(targets, self._rivals.values())) and not self._rival

    @property
    def unseen(self) -> str:
        """What is said of an application that is not seen to be that of the service."""
        here = f"{self._called()}, and the application that was asked is "
        if not self._row and self._rivals:
            return f"{here}not seen to be what any of {self._listed()} serves"
        if self._rival:
            return f"{here}that of `[service.{self._rival}]`"
        if not self._named or self._makers & _codes_of(self._found.get(self._name, ())):
            return f"{here}one of several that this process has wrapped; the service names none of them itself"
        return f"{here}not seen to be what `[service.{self._name}]` serves, `{':'.join(self._named[0])}`"

    def is_own(self) -> bool:
        """Whether this is the application of the service; asked anew until that is settled."""
        if self.is_settled:
            return True
        self._look()
        values = self._found[self._name]
        here = filter(self._is_here, values)
        self.is_settled = any(without_layers(value) is own for value in here for own in self._wrapped)
        if self.is_settled or self._rival:
            return self.is_settled
        if self._named and not (_codes_of(values) & self._makers or any(map(self._is_kept, values))):
            return False
        return not self._strict or self._is_only_one()

    def _doubt(self, callers: list[tuple[str, Path]], found: Path | None) -> str:
        here = f"{self._called()}, and "
        if self._may_serve(self._row, callers):
            return ""
        if self._named:
            what, where = f"`[service.{self._name}]` serves, `{':'.join(self._named[0])}`", ""
            if any(name == module for name, _ in callers for module, _ in self._named):
                where = ": it has the name, and lies elsewhere than its module"
            return f"{here}`{_served(callers)}` is not what {what}{where}"
        if not self._rivals or self._is_run((found.parent if found is not None else Path.cwd()).resolve()):
            return ""
        here = f"{here}`[service.{self._name}]` has no `app`"
        return f"{here}: whether this is the application of {self._listed()} cannot be told"

    def _doubt_of_all(self, callers: list[tuple[str, Path]]) -> str:
        """Why this is no application of a manifest whose services are all others; empty where one of them may be it."""
        rows = self._rivals.values()
        if not rows or not all(targets(row) for row in rows) or any(self._may_serve(row, callers) for row in rows):
            return ""
        return f"{self._called()}, and `{_served(callers)}` is not what any of {self._listed()} serves"

    def _may_serve(self, row: Mapping[str, Any], callers: list[tuple[str, Path]]) -> bool:
        """Whether the module that a service names is loaded, or being imported for it."""
        return any(
            any(self._loaded(row, module)) or any(module.startswith(f"{name}.") for name, _ in callers)
            for module, _ in targets(row)
        )

    def _called(self) -> str:
        if not self._row:
            return "`DODAI_SERVICE` names no service"
        if self._given == self._name:
            return f"`DODAI_SERVICE` is `{self._name}`"
        return f"`DODAI_SERVICE` names no service, so that this is taken for `{self._name}`"

    def _listed(self) -> str:
        return ", ".join(f"`[service.{other}]`" for other in self._rivals)

    def _note(self, inner: Any) -> None:
        self.known[:] = [each for each in self.known if each() is not None and each() is not inner]
        try:
            self.known.append(weakref.ref(inner))
        except TypeError:
            self.known.append(lambda: inner)

    def _is_only_one(self) -> bool:
        """Whether the process has wrapped no other application; one that nobody can serve any more does not count."""
        count = self._others()
        if count and count != self._collected:
            gc.collect()
            self._collected = count = self._others()
        return not count

    def _others(self) -> int:
        alive = [one for one in (each() for each in self.known) if one is not None]
        return sum(one is not self._wrapped[0] for one in alive)

    def _look(self) -> None:
        """See what each service names as its application, as far as it is loaded; again when a module has come."""
        if self._modules == len(sys.modules):
            return
        self._modules = len(sys.modules)
        rows = {**self._rivals, self._name: self._row}
        self._found = {name: tuple(self._values(row)) for name, row in rows.items()}
        self._rival = next(filter(self._is_of, self._rivals), "")

    def _is_here(self, value: Any) -> bool:
        """Whether `value` leads through this layer, or through none: another one may be around the same application."""
        found = own_layers(value)
        return not found or any(each is self._layer() for each in found)

    def _is_kept(self, value: Any) -> bool:
        """Whether `value` is middleware that keeps the application, and no other one that can be seen."""
        return self._is_here(value) and any(unwrap(value) is own for own in self._wrapped) and not others(value)

    def _is_of(self, rival: str) -> bool:
        """Whether another service names the application, or the factory that has made it."""
        values = self._found[rival]
        here = [one for value in values if self._is_here(value) for one in (unwrap(value), sought(value))]
        if any(one is own for one in here for own in self._wrapped):
            return True
        same = self._named == targets(self._rivals[rival])
        return not same and bool(_codes_of(values) & self._codes)

    def _is_run(self, folder: Path) -> bool:
        """Whether the process is a program of the project that the command of this service runs, and no rival's."""
        main = sys.modules.get("__main__")
        file = Path(getattr(main, "__file__", None) or "").resolve()
        if main is None or not file.is_relative_to(folder) or is_installed(file, folder) or is_library(file):
            return False
        runs = functools.partial(self._runs, _called(vars(main), file), file, folder)
        return runs(self._row) and not any(map(runs, self._rivals.values()))

    def _runs(self, name: str, file: Path, folder: Path, row: Mapping[str, Any]) -> bool:
        """Whether the command of a service runs the program `file`, which is called `name` as a module."""
        words = [str(word) for word in row.get("command") or ()]
        folders = (folder, folder / str(row.get("cwd") or "."))
        at = next((at for at, word in enumerate(words) if file in [(each / word).resolve() for each in folders]), None)
        if at is None and self._places.has(row, name, file):
            at = next((at + 1 for at, pair in enumerate(pairwise(words)) if pair == ("-m", name)), None)
        return at is not None and all(word in sys.argv for word in words[at + 1 :] if "{" not in word)

    def _values(self, row: Mapping[str, Any]) -> Iterator[Any]:
        """What a service names as its application, as far as it is loaded."""
        for module, name in targets(row):
            for loaded in self._loaded(row, module):
                yield from _values(loaded, name)

    def _loaded(self, row: Mapping[str, Any], module: str) -> Iterator[ModuleType]:
        """The modules that `module` of a service may be: of this name, as the program, from a folder further inside."""
        parts = module.split(".")
        for name in (*(".".join(parts[at:]) for at in range(len(parts))), "__main__", "__mp_main__"):
            found = sys.modules.get(name)
            file = Path(getattr(found, "__file__", None) or "")
            if found is None or not self._places.has(row, module, file):
                continue
            if name == module or _called(vars(found), file) == module or lies_at(file, parts):
                yield found


def _codes_of(values: Iterable[Any]) -> frozenset[CodeType]:
    """The code of the factories among `values`."""
    made = [value.func if isinstance(value, functools.partial) else value for value in values]
    codes = (getattr(inspect.unwrap(value), "__code__", None) for value in made if inspect.isroutine(value))
    return frozenset(code for code in codes if code is not None)


def _may_be(row: Mapping[str, Any]) -> bool:
    """Whether the application of a service may be one of Python."""
    return bool(row.get("app")) or str((row.get("command") or ("",))[0]) not in _NODE


def _values(module: ModuleType, name: str) -> Iterator[Any]:
    """What `name` is in a module, without its call; a name that is not given is one of those that servers look for."""
    for each in [name.partition("(")[0]] if name else ["app", "application", "create_app", "make_app"]:
        value: Any = module
        for part in each.split("."):
            value = getattr(value, part, None)
        if value is not None:
            yield value


def _callers() -> Iterator[tuple[str, Path]]:
    """(module, source file) of what is being called, without dodai, the standard library and the scripts of Python."""
    scripts, own = Path(sysconfig.get_path("scripts")).resolve(), Path(__file__).resolve().parents[1]
    for frame in _frames():
        source = frame.f_code.co_filename
        path = Path(source).resolve()
        ours = path.parent == scripts or path.is_relative_to(own)
        if not source.startswith("<") and not ours and not is_library(path):
            yield _called(frame.f_globals, path), path


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - who calls is all that tells one application from another
    while frame is not None:
        yield frame
        frame = frame.f_back


def _makers() -> Iterator[CodeType]:
    """The code of what is making the application: not of who imports the module that makes it, or serves a request."""
    for frame in _frames():
        if frame.f_code.co_name == "<module>":
            return
        if not any(map(_is_request, frame.f_locals.values())):
            yield frame.f_code


def _is_request(value: object) -> bool:
    """Whether this is an ASGI scope or a WSGI environ, or arguments with one."""
    if isinstance(value, tuple):
        return any(map(_is_request, value))
    return isinstance(value, dict) and ("wsgi.version" in value or ("asgi" in value and "type" in value))


def _served(callers: list[tuple[str, Path]]) -> str:
    return next((str(path) for _, path in callers), "the application")


def _called(module: Mapping[str, Any], path: Path) -> str:
    """The name of a module, as it could be imported where it is run (`python -m shop`, `python shop.py`)."""
    name = str(module.get("__name__", ""))
    spec = module.get("__spec__")
    if name not in ("__main__", "__mp_main__"):
        return name
    return str(spec.name).removesuffix(".__main__") if spec is not None else path.stem
