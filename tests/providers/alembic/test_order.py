"""The order is Alembic's own: whatever the graph, `up` ends in the schema of `alembic upgrade heads`, byte for byte."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.providers.alembic.test_check import revision
from tests.providers.alembic.test_run import ENV_PY, POLICY

from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.interpreter import Interpreter
from dodai.migrations.ports import MigrationTarget
from dodai.providers.alembic.tool import Alembic
from dodai.providers.postgres.cluster import Cluster
from dodai.providers.postgres.connection import connect

GRAPHS = int(os.environ.get("DODAI_GRAPHS", "4"))
"""So many are tried: 50 take some minutes, the suite tries a few."""

REFUSED_BY_ALEMBIC = 283
"""Its heads lose one that another revision depends on, and `alembic upgrade heads` ends in a KeyError; 1 graph of 8."""


@dataclass
class Graph:
    """Revisions by id: what they follow, what they depend on, their labels; `heads` of each branch."""

    down: dict[str, tuple[str, ...]] = field(default_factory=dict)
    needs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    label: dict[str, str] = field(default_factory=dict)
    heads: list[set[str]] = field(default_factory=list)

    def add(self, name: str, down: tuple[str, ...], needs: tuple[str, ...] = (), label: str = "") -> str:
        self.down[name], self.needs[name] = down, needs
        if label:
            self.label[name] = label
        return name


def grown(choose: random.Random) -> Graph:
    """A graph in which each branch with a name ends in one head: forks, merges within and across, dependencies."""
    graph = Graph()
    names = [f"{letter}{number}" for letter in "abcdef" for number in range(10)]
    choose.shuffle(names)
    for number in range(choose.randint(1, 3)):
        graph.heads.append({graph.add(names.pop(), (), label=f"branch{number}")})
    for _ in range(choose.randint(2, 14)):
        branch = choose.choice(graph.heads)
        kind = choose.random()
        everything = sorted(graph.down)
        needs = tuple(choose.sample(everything, 1)) if kind < 0.3 else ()
        if len(branch) > 1 and kind > 0.7:
            parents = tuple(choose.sample(sorted(branch), 2))
        elif len(graph.heads) > 1 and kind > 0.9:
            other = choose.choice([each for each in graph.heads if each is not branch])
            parents = (choose.choice(sorted(branch)), choose.choice(sorted(other)))
            graph.heads.remove(other)
            branch |= other
        else:
            # Of any revision of the branch, not only of its end: that forks.
            parents = (choose.choice(sorted(_line(graph, branch))),)
        needs = tuple(each for each in needs if each not in _line(graph, set(parents)))
        branch -= set(parents)
        branch.add(graph.add(names.pop(), parents, needs))
    for branch in graph.heads:
        if len(branch) > 1:
            graph.add(names.pop(), tuple(sorted(branch)))
    return graph


def _line(graph: Graph, ends: set[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(ends)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph.down[name]
    return found


def write(root: Path, graph: Graph) -> None:
    """Each revision adds a column to one table: the order of the columns is the order of the revisions."""
    versions = root / "alembic" / "versions"
    versions.mkdir(parents=True)
    (root / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/alembic\n")
    (root / "alembic" / "env.py").write_text(ENV_PY)
    for name, down in graph.down.items():
        body = f"op.execute('CREATE TABLE IF NOT EXISTS trace (id int)'); op.execute('ALTER TABLE trace ADD COLUMN {name} int')"
        text = revision(name, None, body, f"op.execute('ALTER TABLE trace DROP COLUMN {name}')")
        text = text.replace("down_revision = None", f"down_revision = {down or None!r}")
        text += f"\ndepends_on = {graph.needs[name] or None!r}\nbranch_labels = {graph.label.get(name)!r}\n"
        (versions / f"{name}.py").write_text(text)


def dump(url: str, cluster: Cluster) -> str:
    """The schema without dodai's own, and what Alembic keeps."""
    command = [str(cluster.binaries.tool("pg_dump")), "--no-owner", "-N", "dodai", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return re.sub(r"^\\(un)?restrict .*\n", "", text, flags=re.MULTILINE)


def target_of(root: Path, url: str) -> MigrationTarget:
    tool = Alembic(root, POLICY.folder, Interpreter(sys.executable, {}, "APP_URL"))
    return MigrationTarget(root, POLICY, lambda: connect(url), tool=tool)


def alembic(root: Path, url: str, *words: str) -> str:
    """The last line of what Alembic said when it failed, "" when it did not."""
    done = subprocess.run(
        [sys.executable, "-m", "alembic", *words], cwd=root, env={**os.environ, "APP_URL": url}, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


@settings(max_examples=GRAPHS, deadline=None, suppress_health_check=list(HealthCheck))
@given(choose=st.randoms(use_true_random=False))
def test_any_graph_ends_in_alembics_own_schema(
    tmp_path_factory: pytest.TempPathFactory, postgres: Cluster, choose: random.Random
):
    """From an empty database or the middle; where Alembic itself fails, dodai fails with its words in the same schema."""
    both_ways(tmp_path_factory.mktemp("graph"), postgres, choose)


def test_a_graph_that_alembic_refuses_is_refused_with_its_words(tmp_path: Path, postgres: Cluster):
    """And the schema is what Alembic leaves."""
    assert both_ways(tmp_path, postgres, random.Random(REFUSED_BY_ALEMBIC))


def both_ways(root: Path, postgres: Cluster, choose: random.Random) -> str:
    """A graph through Alembic itself and through `up`, which must agree; what Alembic said where it failed."""
    graph = grown(choose)
    write(root, graph)
    with postgres.fresh_database("theirs") as theirs, postgres.fresh_database("ours") as ours:
        if choose.randint(0, 3) == 1:
            stop = choose.choice(sorted(graph.down))
            assert alembic(root, theirs, "upgrade", stop) == alembic(root, ours, "upgrade", stop)
        failed = alembic(root, theirs, "upgrade", "heads")
        if failed:
            with pytest.raises(DodaiError) as caught:
                run.up(target_of(root, ours))
            assert caught.value.code.id == "DOD280"
            assert failed in caught.value.message
        else:
            run.up(target_of(root, ours))
            assert run.up(target_of(root, ours)).ran == ()
        assert dump(ours, postgres) == dump(theirs, postgres)
    return failed


def test_a_table_is_made_before_the_branch_that_alters_it(tmp_path: Path, postgres: Cluster):
    """Breadth-first by name would alter it first; Alembic finishes one side before the other."""
    graph = Graph()
    graph.add("a0", ())
    graph.add("c1", ("a0",))
    graph.add("c2", ("c1",))
    graph.add("b1", ("a0",))
    graph.add("d9", ("b1", "c2"))
    write(tmp_path, graph)
    for name, body in (("c2", "CREATE TABLE tb (i int)"), ("b1", "ALTER TABLE tb ADD COLUMN j int")):
        path = tmp_path / "alembic" / "versions" / f"{name}.py"
        path.write_text(path.read_text().replace("op.execute('CREATE", f"op.execute('{body}'); op.execute('CREATE", 1))
    with postgres.fresh_database("theirs") as theirs, postgres.fresh_database("ours") as ours:
        alembic(tmp_path, theirs, "upgrade", "head")
        done = run.up(target_of(tmp_path, ours))
        assert [ran.migration.id for ran in done.ran].index("c2") < [ran.migration.id for ran in done.ran].index("b1")
        assert dump(ours, postgres) == dump(theirs, postgres)


def test_two_ends_without_a_name_of_their_own_are_refused(tmp_path: Path, postgres: Cluster):
    """As `alembic upgrade head` does; the label on what both follow tells them not apart."""
    graph = Graph()
    graph.add("a0", (), label="shared")
    graph.add("b1", ("a0",))
    graph.add("c1", ("a0",))
    write(tmp_path, graph)
    with postgres.fresh_database("ours") as ours, pytest.raises(DodaiError) as caught:
        run.up(target_of(tmp_path, ours))
    assert caught.value.code.id == "DOD222"
