"""Values and protocols: no I/O, no clock, no randomness."""
