"""`dodai` as it is, asked by the user `nobody`; what it may not read of the interpreter is imported before."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pkgutil
import sys

import dodai.cli
import dodai.engine
import dodai.operations
from dodai.cli.main import run

NOBODY = 65534

for package in (dodai.cli, dodai.engine, dodai.operations):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
with contextlib.redirect_stdout(io.StringIO()):
    run(["status", "staging"])
os.setgroups([])
os.setresgid(NOBODY, NOBODY, NOBODY)
os.setresuid(NOBODY, NOBODY, NOBODY)
sys.exit(run(sys.argv[1:]))
