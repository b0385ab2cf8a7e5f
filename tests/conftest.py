"""What every suite shares."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = ["tests.optional_parts"]

# An example that takes long on a busy machine says nothing about what is tested: no timed assertions, here neither.
settings.register_profile("dodai", deadline=None)
settings.load_profile("dodai")
