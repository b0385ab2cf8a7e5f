"""Engines that telemetry is read back from: lines from VictoriaLogs, counters from what answers Prometheus' API."""
