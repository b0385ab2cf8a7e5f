"""A provider that is no part of dodai: what `docs/contributing/adding-a-provider.md` asks for, and nothing else."""
