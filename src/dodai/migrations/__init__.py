"""Migrations: one tool, one command, the same locally, in CI and in production."""
