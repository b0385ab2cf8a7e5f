"""A Python environment with exactly what an install line asks for, made from what is installed here, without a network.

The wheel of this checkout is installed; everything else that the line names, and what that requires, is linked in. A
package that a page forgot to name is not there.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def wheel(folder: Path) -> Path:
    """What pip installs from the wheel of this checkout, built and installed once; every environment gets a copy."""
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    argv = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run([str(word) for word in argv], check=True, capture_output=True)
    installed = folder / "site-packages"
    argv = [*pip, "install", "--no-deps", "--no-index", "--target", installed, *folder.glob("dodai-*.whl")]
    subprocess.run([str(word) for word in argv], check=True, capture_output=True)
    return installed


def install(line: str, environment: Path, built: Path) -> None:
    """Carry out `pip install ...` in `environment`, which is made if need be; `dodai` is what `wheel` made."""
    words = shlex.split(line)
    assert words[:2] == ["pip", "install"], line
    if not environment.exists():
        venv.create(environment, symlinks=True)
    site = next(environment.glob("lib/python*/site-packages"))
    for found in _closure(Requirement(word) for word in words[2:]):
        if canonicalize_name(found.metadata["Name"]) == "dodai":
            (ours,) = distributions(path=[str(built)])
            for name in _top(ours) - {path.name for path in site.iterdir()}:
                shutil.copytree(built / name, site / name, copy_function=os.link)
            _commands(ours, environment / "bin")
        else:
            _link(found, site, environment / "bin")


def _closure(wanted: Iterable[Requirement]) -> Iterator[Distribution]:
    """The distributions of `wanted` and, with the extras that are asked for, of all that they require."""
    waiting, seen = list(wanted), set[str]()
    while waiting:
        one = waiting.pop()
        for extra in ("", *one.extras):
            if (key := f"{canonicalize_name(one.name)}[{extra}]") in seen:
                continue
            seen.add(key)
            found = distribution(one.name)
            if not extra:
                yield found
            for text in found.requires or ():
                needed = Requirement(text)
                only_for_others = needed.marker is None and extra
                if not only_for_others and (needed.marker is None or needed.marker.evaluate({"extra": extra})):
                    waiting.append(needed)


def _link(found: Distribution, site: Path, scripts: Path) -> None:
    """Link every top-level file and folder of a distribution into `site`, and give its commands a script."""
    for name in _top(found):
        target = Path(str(found.locate_file(name)))
        if target.is_dir() and not (target / "__init__.py").exists() and not name.endswith(".dist-info"):
            (site / name).mkdir(exist_ok=True)  # a namespace that several distributions share
            for inner in target.iterdir():
                _link_once(site / name / inner.name, inner)
        else:
            _link_once(site / name, target)
    _commands(found, scripts)


def _top(found: Distribution) -> set[str]:
    return {Path(str(file)).parts[0] for file in found.files or ()} - {"..", "bin", "__pycache__"}


def _commands(found: Distribution, scripts: Path) -> None:
    for entry in found.entry_points.select(group="console_scripts"):
        module, _, function = entry.value.partition(":")
        script = scripts / entry.name
        text = f"#!{scripts / 'python'}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        script.write_text(text, "utf-8")
        script.chmod(0o755)


def _link_once(link: Path, target: Path) -> None:
    if not link.exists():
        link.symlink_to(target)
