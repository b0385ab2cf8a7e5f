"""Secrets that a program keeps: SOPS, 1Password, Infisical, Doppler, or one of your own."""
