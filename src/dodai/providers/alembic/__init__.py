"""Alembic's revisions: read without running them, rendered to SQL, run one at a time under our lock."""
