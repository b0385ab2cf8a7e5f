"""The parts of dodai that are installed by name, and what to say when one is not there."""

from __future__ import annotations

from dodai.core.codes import MISSING_EXTRA
from dodai.core.errors import DodaiError

EXTRAS = {
    "age": ("pyrage",),
    "authentik": ("yaml",),
    "postgres": ("psycopg", "psycopg_pool"),
    "grpc": ("grpc", "google.protobuf"),
    "alembic": ("alembic", "sqlalchemy"),
    "remix": ("tree_sitter", "tree_sitter_typescript"),
}
"""The modules of each extra of `pyproject.toml` that dodai itself imports."""


def install_line(extra: str) -> str:
    return f"pip install 'dodai[{extra}]'"


def missing_extra(error: ModuleNotFoundError) -> DodaiError | None:
    """DOD053 with the line that installs what could not be imported; None when it is of no extra."""
    name = error.name or ""
    for extra, modules in EXTRAS.items():
        if any(name == module or name.startswith(f"{module}.") for module in modules):
            return DodaiError(MISSING_EXTRA, f"`{name}` is not installed", install_line(extra), exit_code=2)
    return None
