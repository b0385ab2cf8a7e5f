"""A stand-in for the identity provider on machines that have none."""
