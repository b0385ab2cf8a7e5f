"""The real command line, with one more line in the registry of providers."""

from __future__ import annotations

import sys

from dodai.cli.main import run
from dodai.wiring import environments

environments.PROVIDERS["toy"] = "tests.providers.toy.provider"
sys.exit(run(sys.argv[1:]))
