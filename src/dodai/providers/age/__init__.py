"""Secrets in a file that age encrypts to the keys of a team: it may lie in the repository."""
