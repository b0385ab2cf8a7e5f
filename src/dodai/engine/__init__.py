"""The only place that executes a Plan: ordered steps, a journal that survives a crash, one holder at a time."""
