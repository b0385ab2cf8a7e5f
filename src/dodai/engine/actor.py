"""Who acts: the one name that journal, approvals and the log of migrations give a person or a CI."""

from __future__ import annotations

import os

_CI_ACTORS = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILDKITE_BUILD_CREATOR", "CIRCLE_USERNAME")


def actor() -> str:
    """The account that runs this, and before it whom a CI claims to work for."""
    import pwd  # `migrate up` with nothing to do has no actor

    try:
        account = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        account = f"uid-{os.getuid()}"
    claimed = claimed_actor()
    return f"{claimed} (claimed by CI, account {account})" if claimed else account


def claimed_actor() -> str:
    """Who a CI says it works for; `""` outside of one. Anybody can set these variables."""
    return next((os.environ[name] for name in _CI_ACTORS if os.environ.get(name)), "")
