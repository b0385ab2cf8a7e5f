"""Manifest to chosen providers: the only place that knows both."""
