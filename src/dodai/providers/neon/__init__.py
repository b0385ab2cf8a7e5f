"""Neon behind the database port: branches as restore points and copies, one endpoint's direct and pooled addresses."""
