"""SHA-256 as the interpreter has it built in: `hashlib` loads OpenSSL first, 2.3 of the 60 ms of `migrate up`.

`random` of the standard library takes SHA-512 the same way. Where an interpreter was built without, `hashlib` serves.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256
else:
    for _module in ("_sha2", "_sha256", "hashlib"):  # Python 3.12 and later, 3.11, any
        try:
            sha256 = import_module(_module).sha256
            break
        except ImportError:
            continue

__all__ = ["sha256"]
