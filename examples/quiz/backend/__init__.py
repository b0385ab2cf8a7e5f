"""The quiz's backend: rules and data, spoken to over gRPC."""
