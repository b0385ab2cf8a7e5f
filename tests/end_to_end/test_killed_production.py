"""The production plan with its own drivers, killed in the middle; every point: benchmarks/production_kill_matrix.py."""

from __future__ import annotations

from tests.support.killed_production import STORIES, production


def test_production_plan_killed_anywhere_ends_like_one_in_peace(tmp_path):
    """A restore point that nobody wrote down, and a machine whose maker died holding the lease of another."""
    with production(tmp_path) as matrix:
        deploy = next(one for one in STORIES if one.name == "deploy")
        names = matrix.points(deploy)
        for wanted in ("after Neon POST branches", "after Fly POST lease"):
            at = [number for number, name in enumerate(names) if name == wanted]
            matrix.judge(deploy, (at[len(at) // 2],))
        bad = next(one for one in STORIES if one.name == "bad release")
        names = matrix.points(bad)
        for wanted in ("after Fly POST secrets", "before undone"):  # what ended at its start is still there at Fly
            at = [number for number, name in enumerate(names) if name == wanted]
            matrix.judge(bad, (at[-1],))
        assert matrix.kills == 4
        assert matrix.bad == []
