"""Authentik behind the identity port: sign-in compared with the manifest, never changed."""
