"""Cloudflare behind the edge port: the record, settings and own rules of one host name in a zone."""
