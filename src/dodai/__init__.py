"""The operational foundation of a web application: enforced, checked, run and documented from one manifest."""

__version__ = "0.1.0"
