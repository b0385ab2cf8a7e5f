"""Alembic's revisions for the rules of migrations: read without running them, rendered to SQL where wanted."""
