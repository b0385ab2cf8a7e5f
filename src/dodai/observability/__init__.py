"""One request id through every tier, one line per request and tier, and the trace that reads them."""
