"""The rules of operations and the facts they need."""

from __future__ import annotations

from dodai.operations.check.accounts import RULES as OF_ACCOUNTS
from dodai.operations.check.accounts import ComputeAccount, DatabaseAccount, EdgeAccount, SignInAccount
from dodai.operations.check.named_paths import RULES as OF_PATHS
from dodai.operations.check.named_paths import NamedPaths, gather_named_paths
from dodai.operations.check.network import RULES as OF_THE_NETWORK
from dodai.operations.check.network import ClosedPorts, DirectRequests, OriginsSeen
from dodai.operations.check.rules import RULES as OF_THE_MANIFEST
from dodai.operations.check.rules import Proofs, ProviderProblems, ReadyPaths, TrackedState
from dodai.operations.check.secrets import RULES as OF_SECRETS
from dodai.operations.check.secrets import SecretState, SecretStates, ServedValues
from dodai.operations.check.variables import RULES as OF_VARIABLES
from dodai.operations.check.variables import Variables, gather_variables

__all__ = [
    "RULES",
    "ClosedPorts",
    "ComputeAccount",
    "DatabaseAccount",
    "DirectRequests",
    "EdgeAccount",
    "NamedPaths",
    "OriginsSeen",
    "Proofs",
    "ProviderProblems",
    "ReadyPaths",
    "SecretState",
    "SecretStates",
    "ServedValues",
    "SignInAccount",
    "TrackedState",
    "Variables",
    "gather_named_paths",
    "gather_variables",
]

RULES = (*OF_THE_MANIFEST, *OF_SECRETS, *OF_VARIABLES, *OF_PATHS, *OF_THE_NETWORK, *OF_ACCOUNTS)
