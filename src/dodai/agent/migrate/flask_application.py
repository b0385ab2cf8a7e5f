"""The Flask application that Flask-Migrate's env.py asks for its database, led to the database that is migrated.

Flask and what belongs to it are the user's and are loaded by name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from .driver_session import RunRefusedError

URI = "SQLALCHEMY_DATABASE_URI"
_LEADS = ("host", "hostaddr", "port", "user", "password", "dbname", "service", "passfile")
"""Words of a URL's query that say where it leads."""


class FlaskApplication:
    """Found as `flask` finds it: by FLASK_APP, else by the manifest, else in `wsgi.py` or `app.py`. Loaded once."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.request = request
        self.loaded: Any = None

    def context(self) -> Any:
        """The application context for one run of env.py. What keeps it from being there is a refusal of its own."""
        if self.loaded is None:
            try:
                self.loaded = self._load()
            except RunRefusedError:
                raise
            except BaseException as error:
                said = f"the Flask application cannot be loaded: {type(error).__name__}: {str(error)[:300]}"
                raise RunRefusedError("application", said) from error
        return self.loaded.app_context()

    def config(self, folder: str) -> Any:
        """Alembic's configuration as Flask-Migrate makes it, within the context."""
        return self.loaded.extensions["migrate"].migrate.get_config(folder)

    def _load(self) -> Any:
        cli = import_module("flask.cli")
        cli.load_dotenv()
        self._lead()
        named = os.environ.get("FLASK_APP") or self.request.get("application") or None
        app = cli.ScriptInfo(app_import_path=named).load_app()
        if "migrate" not in app.extensions:
            raise RunRefusedError("application", f"the Flask application `{app.name}` has no Flask-Migrate")
        return app

    def _lead(self) -> None:
        """Every application that Flask-SQLAlchemy is made for gets our URL, before it makes an engine of its own."""
        try:
            extension = import_module("flask_sqlalchemy").SQLAlchemy
        except ImportError:
            return  # whatever else there is reads the variable, or is refused where it connects elsewhere
        own = extension.init_app

        def init_app(db: Any, app: Any, *words: Any, **more: Any) -> Any:
            app.config[URI] = _led(app.config.get(URI), self.request["url"])
            return own(db, app, *words, **more)

        extension.init_app = init_app


def _led(own: Any, url: str) -> Any:
    """The application's own URL, its driver and options, but where dodai's connection is."""
    make = import_module("sqlalchemy.engine").make_url
    there = make(url)
    if not own:
        return there
    said = make(own)
    if said.get_backend_name() != "postgresql":
        raise RunRefusedError("elsewhere", f"`{URI}` of the application is `{said.drivername}`, not PostgreSQL")
    kept = {name: value for name, value in said.query.items() if name not in _LEADS}
    return there.set(drivername=said.drivername, query={**kept, **there.query})
