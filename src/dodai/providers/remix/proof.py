"""Whether a function is sure to verify a request before it does anything: by its code, never by a name.

The proof is an awaited call of `verify` of a `createCsrf(…)` from `@dodai/remix` (or `validate` of a `CSRF` from
`remix-utils`) for the function's own request, as a statement of its own, before anything that may return or change
state. Functions that do so themselves count as a check as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field
from itertools import chain
from pathlib import Path
from typing import Literal

from tree_sitter import Node

from dodai.core.dataclass import dataclass
from dodai.providers.remix.changes import changes, handed_on
from dodai.providers.remix.program import External, Found, Program, Unresolved, Value
from dodai.providers.remix.syntax import FUNCTIONS, ScriptModule, arguments, bare, line, literal, names_of, text, walk

Word = Literal["protected", "unprotected", "unknown"]

PACKAGE = "@dodai/remix/csrf.server"
_MAKERS = {PACKAGE: ("createCsrf", "verify"), "remix-utils/csrf/server": ("CSRF", "validate")}
_LOOKS_LIKE_CHECK = re.compile(r"csrf|xsrf|verify.?token|validate.?token", re.IGNORECASE)
_ASSIGNMENTS = ("assignment_expression", "augmented_assignment_expression")
_LOOPS = frozenset(
    {"for_statement", "for_in_statement", "while_statement", "do_statement", "switch_statement", "labeled_statement"}
)


@dataclass(frozen=True, slots=True)
class Proof:
    """The verdict about one function; `line` is where the evidence stands, in `path`."""

    word: Word
    evidence: str
    path: Path
    line: int
    by: str = ""


@dataclass(slots=True)
class Prover:
    """Asks about functions of one program; each is judged once.

    `refuses` is False where the manifest only reports, or leaves the token to another check.
    """

    program: Program
    refuses: bool = True
    _known: dict[tuple[Path, int], Proof] = field(default_factory=dict)
    _asking: set[tuple[Path, int]] = field(default_factory=set)

    def handler(self, found: Found) -> Proof:
        """About an action, whatever it was exported as: a function, or what a wrapper made of one."""
        if isinstance(found, External):
            told = f"it comes from the package `{found.package}`, which is not read"
            return Proof("unknown", told, self.program.folder, 1)
        if isinstance(found, Unresolved):
            return Proof("unknown", found.why, found.path, found.line)
        node = found.node
        if node.type in FUNCTIONS:
            return self.function(found.module, node)
        if node.type == "call_expression":
            return self._wrapped(found.module, node)
        return Proof(
            "unknown", f"its value is a {node.type.replace('_', ' ')}, not a function", found.module.path, line(node)
        )

    def function(self, module: ScriptModule, node: Node) -> Proof:
        key = (module.path, node.start_byte)
        if key in self._asking:
            return Proof("unknown", "it calls itself before it verifies", module.path, line(node))
        if key not in self._known:
            self._asking.add(key)
            self._known[key] = self._judge(module, node)
            self._asking.discard(key)
        return self._known[key]

    def maker(self, found: Found) -> tuple[str, str, Value] | None:
        """(package, method that checks, the call) when the value is what `createCsrf(…)` or its like returned."""
        if not isinstance(found, Value) or found.node.type not in ("call_expression", "new_expression"):
            return None
        called = found.node.child_by_field_name("function") or found.node.child_by_field_name("constructor")
        if called is None:
            return None
        target = self.program.value(found.module, called)
        if not isinstance(target, External):
            return None
        made = _MAKERS.get(target.package)
        if made is None or target.name != made[0]:
            return None
        if target.package == PACKAGE and not (self.refuses and self._refuses(found)):
            return None
        return target.package, made[1], found

    def _refuses(self, made: Value) -> bool:
        """Whether every option is known, and none names a mode that is not sure to refuse."""
        for argument in arguments(made.node):
            options = self.program.value(made.module, argument)
            if not isinstance(options, Value) or options.node.type != "object":
                return False
            for one in options.node.named_children:
                if one.type == "spread_element" or text(one) == "mode":
                    return False
                if one.type == "pair" and text(one.child_by_field_name("key")).strip("'\"") == "mode":
                    return literal(one.child_by_field_name("value")) in ("both", "either", "header")
        return True

    def _is_kept(self, module: ScriptModule, made: tuple[str, str, Value]) -> bool:
        """Whether nobody puts another function in the place of the method that checks."""
        for one in (module, made[2].module):
            for owner in self.program.replaced(one, made[1]):
                found = self.program.value(one, owner)
                if isinstance(found, Value) and found.node.id == made[2].node.id:
                    return False
        return True

    # -- one function

    def _judge(self, module: ScriptModule, node: Node) -> Proof:
        body = node.child_by_field_name("body")
        if body is None:
            return Proof("unknown", "it has no body", module.path, line(node))
        if node.type.startswith("generator"):
            return Proof("unknown", "it is a generator, which runs only when it is read", module.path, line(node))
        if body.type != "statement_block":
            return self._expression(module, node, body)
        return self._block(module, node, body) or self._never(module, node)

    def _expression(self, module: ScriptModule, node: Node, body: Node) -> Proof:
        call = bare(body)
        if call is not None and call.type == "await_expression":
            call = bare(call.named_children[0])
        if call is not None and call.type == "call_expression" and self.is_check(module, call):
            return self._checked(module, node, call)
        return self._never(module, node)

    def _block(self, module: ScriptModule, function: Node, block: Node) -> Proof | None:
        """The verdict that the statements come to; None when the end is reached without a check."""
        for statement in block.named_children:
            if statement.type in ("comment", *FUNCTIONS):
                continue
            proof = self._statement(module, function, statement)
            if proof is not None:
                return proof
        return None

    def _statement(self, module: ScriptModule, function: Node, statement: Node) -> Proof | None:
        call = _awaited(statement)
        if call is not None and self.is_check(module, call):
            return self._checked(module, function, call)
        if statement.type == "return_statement" and statement.named_children:
            returned = bare(statement.named_children[0])
            if returned is not None and returned.type == "call_expression" and self.is_check(module, returned):
                return self._checked(module, function, returned)
        if statement.type == "try_statement":
            return self._try(module, function, statement)
        check = next(self._checks(module, statement), None)
        if check is not None:
            return self._unsure(module, statement, check)
        if statement.type == "return_statement" or _returns(statement):
            return self._early(module, function, statement)
        change = next(chain(changes(statement), handed_on(function, statement)), None)
        if change is not None:
            return self._late(module, function, change)
        return None

    def _try(self, module: ScriptModule, function: Node, statement: Node) -> Proof | None:
        body = statement.child_by_field_name("body")
        handler = statement.child_by_field_name("handler")
        inside = self._block(module, function, body) if body is not None else None
        last_word = statement.child_by_field_name("finalizer")
        if inside is not None and inside.word == "protected" and last_word is not None and _leaves(last_word):
            told = "a `finally` around the check swallows its refusal"
            return Proof("unprotected", told, module.path, line(last_word))
        if inside is None or inside.word != "protected" or handler is None:
            return inside
        caught = handler.child_by_field_name("body")
        last = [one for one in caught.named_children if one.type != "comment"] if caught is not None else []
        if last and last[-1].type == "throw_statement" and not any(_returns(one) for one in last):
            return inside
        return Proof("unprotected", "a `catch` around the check swallows its refusal", module.path, line(handler))

    def _checked(self, module: ScriptModule, function: Node, call: Node) -> Proof:
        request = arguments(call)
        if not request or not _is_own_request(function, request[0]):
            told = f"`{_short(call)}` does not ask about the request of the action"
            return Proof("unknown", told, module.path, line(call))
        return Proof("protected", f"`{_short(call)}` is awaited before anything else", module.path, line(call), "dodai")

    def _unsure(self, module: ScriptModule, statement: Node, check: Node) -> Proof:
        """A statement that calls a check in a way that does not stop the request."""
        at = check.parent
        while at is not None and at.id != statement.id and at.type in ("parenthesized_expression", "await_expression"):
            at = at.parent
        kind = statement.type
        if (
            kind == "if_statement"
            or kind in _LOOPS
            or (at is not None and at.type in ("ternary_expression", "binary_expression"))
        ):
            told = f"`{_short(check)}` is called only on a condition"
        elif at is not None and at.type == "member_expression":
            told = f"what becomes of `{_short(check)}` is not the action's own: its refusal may be swallowed"
        elif check.parent is not None and check.parent.type != "await_expression":
            told = f"`{_short(check)}` is not awaited"
        else:
            told = f"`{_short(check)}` runs beside other things"
        return Proof("unprotected", told, module.path, line(check))

    def _early(self, module: ScriptModule, function: Node, statement: Node) -> Proof:
        later = next((one for one in self._checks(module, function) if one.start_byte > statement.start_byte), None)
        if later is None:
            return self._never(module, function)
        told = f"it may return on line {line(statement)}, before `{_short(later)}` on line {line(later)}"
        return Proof("unprotected", told, module.path, line(statement))

    def _late(self, module: ScriptModule, function: Node, change: Node) -> Proof:
        later = next((one for one in self._checks(module, function) if one.start_byte > change.start_byte), None)
        if later is None:
            return self._never(module, function)
        told = f"`{_short(change)}` comes before `{_short(later)}` on line {line(later)}"
        return Proof("unprotected", told, module.path, line(change))

    def _never(self, module: ScriptModule, node: Node) -> Proof:
        """No check was found; a call that only looks like one is named, because names prove nothing."""
        for call in walk(node, lambda one: one.type == "call_expression"):
            called = call.child_by_field_name("function")
            if called is None or not _LOOKS_LIKE_CHECK.search(text(called)):
                continue
            if self._is_known_other(module, called):
                continue
            if self.is_check(module, call):
                told = f"`{_short(call)}` is called in a function of its own, which nothing is sure to await"
                return Proof("unprotected", told, module.path, line(call))
            told = f"`{_short(call)}` looks like a check, and what it is cannot be proven to refuse"
            if self._shadowed(module, called):
                return Proof(
                    "unprotected", f"`{text(called)}` is another function of that name", module.path, line(call)
                )
            return Proof("unknown", told, module.path, line(call))
        return Proof("unprotected", "nothing in it verifies the request", module.path, line(node))

    def _shadowed(self, module: ScriptModule, called: Node) -> bool:
        """Whether the name is that of an import of a check, but bound to something else inside the function."""
        first = called
        while first.type == "member_expression":
            owner = first.child_by_field_name("object")
            if owner is None:
                return False
            first = owner
        name = text(first)
        if name not in module.imports and name not in module.locals:
            return False
        outer = self.program.name(module, name, None)
        inner = self.program.name(module, name, first)
        return outer != inner and (self.maker(outer) is not None or self._is_guard(outer))

    # -- what is a check

    def _checks(self, module: ScriptModule, node: Node) -> Iterator[Node]:
        for call in walk(node, lambda one: one.type == "call_expression", into_functions=False):
            if self.is_check(module, call):
                yield call

    def is_check(self, module: ScriptModule, call: Node) -> bool:
        """Whether the call refuses by throwing: by its definition, followed through imports, not by its name."""
        called = bare(call.child_by_field_name("function"))
        if called is None or any(child.type == "optional_chain" for child in (*called.children, *call.children)):
            return False
        if called.type == "member_expression":
            owner = called.child_by_field_name("object")
            if owner is not None:
                made = self.maker(self.program.value(module, owner))
                if made is not None:
                    own = text(called.child_by_field_name("property")) == made[1]
                    return own and self._is_kept(module, made)
        return self._is_taken_out(module, called) or self._is_guard(self.program.value(module, called))

    def _is_taken_out(self, module: ScriptModule, called: Node) -> bool:
        """`verify` of `const { verify } = csrf`: a method of dodai's needs no object in front of it."""
        found = self.program.value(module, called)
        if not isinstance(found, Value) or found.node.type != "variable_declarator":
            return False
        value, pattern = found.node.child_by_field_name("value"), found.node.child_by_field_name("name")
        made = self.maker(self.program.value(found.module, value)) if value is not None else None
        if made is None or made[0] != PACKAGE or pattern is None:
            return False
        return any(
            (one.type == "shorthand_property_identifier_pattern" and text(one) == text(called) == made[1])
            or (
                one.type == "pair_pattern"
                and text(one.child_by_field_name("key")) == made[1]
                and text(one.child_by_field_name("value")) == text(called)
            )
            for one in pattern.named_children
        )

    def _is_guard(self, found: Found) -> bool:
        if not isinstance(found, Value):
            return False
        if found.node.type == "member_expression":
            owner = found.node.child_by_field_name("object")
            made = self.maker(self.program.value(found.module, owner)) if owner is not None else None
            return made is not None and text(found.node.child_by_field_name("property")) == made[1]
        return found.node.type in FUNCTIONS and self.function(found.module, found.node).word == "protected"

    def _is_known_other(self, module: ScriptModule, called: Node) -> bool:
        """Whether it is a method of the check's own object that does not check: `csrf.logout(…)`."""
        owner = called.child_by_field_name("object") if called.type == "member_expression" else None
        made = self.maker(self.program.value(module, owner)) if owner is not None else None
        return made is not None and text(called.child_by_field_name("property")) != made[1]

    def _wrapped(self, module: ScriptModule, call: Node) -> Proof:
        """An action that a function made: that one has to return a function which verifies."""
        called = call.child_by_field_name("function")
        found = self.program.value(module, called) if called is not None else None
        if isinstance(found, Value) and found.node.type in FUNCTIONS:
            made = _returned_function(found.node)
            if made is not None:
                return self.function(found.module, made)
        told = f"`{_short(call)}` makes the action, and what it returns is not known"
        return Proof("unknown", told, module.path, line(call))


def _awaited(statement: Node) -> Node | None:
    """The call of `await f(…)` as a statement, or as the only value of a declaration."""
    if statement.type == "expression_statement":
        value = bare(statement.named_children[0]) if statement.named_children else None
    elif statement.type == "lexical_declaration" and len(statement.named_children) == 1:
        value = bare(statement.named_children[0].child_by_field_name("value"))
    else:
        return None
    if value is None or value.type != "await_expression":
        return None
    call = bare(value.named_children[0])
    return call if call is not None and call.type == "call_expression" else None


def _returns(statement: Node) -> bool:
    return next(walk(statement, lambda one: one.type == "return_statement", into_functions=False), None) is not None


def _leaves(block: Node) -> bool:
    """Whether it may end the function, or the loop around it, in the place of what was thrown."""
    kinds = ("return_statement", "break_statement", "continue_statement")
    return next(walk(block, lambda one: one.type in kinds, into_functions=False), None) is not None


def _returned_function(node: Node) -> Node | None:
    body = node.child_by_field_name("body")
    value = bare(body)
    if body is not None and body.type == "statement_block":
        returns = list(walk(body, lambda one: one.type == "return_statement", into_functions=False))
        value = bare(returns[0].named_children[0]) if len(returns) == 1 and returns[0].named_children else None
    return value if value is not None and value.type in FUNCTIONS else None


def _is_own_request(function: Node, argument: Node) -> bool:
    """Whether the argument is the request the function was given: `request`, `args.request`, or a copy of it."""
    shown = text(bare(argument))
    given = function.child_by_field_name("parameters") or function.child_by_field_name("parameter")
    listed = given is not None and given.type == "formal_parameters"
    first = next((one for one in given.named_children if one.type != "comment"), None) if listed and given else given
    bound = set(names_of(first))
    match = re.fullmatch(r"(?:([A-Za-z_$][\w$]*)\.)?([A-Za-z_$][\w$]*)(?:\.clone\(\))?", shown)
    if match is None:
        return False
    owner, name = match[1], match[2]
    if (owner or name) not in bound or (owner is not None and name != "request"):
        return False
    replaced = (one.child_by_field_name("left") for one in walk(function, lambda one: one.type in _ASSIGNMENTS))
    return not any(left is not None and ({owner or name, f"{owner}.{name}"} & _assigned_to(left)) for left in replaced)


def _assigned_to(left: Node) -> set[str]:
    return {text(left)} if left.type == "member_expression" else set(names_of(left))


def _short(call: Node) -> str:
    shown = " ".join(text(call).split())
    return shown if len(shown) <= 60 else f"{shown[:57]}…"
