"""The contract between the tiers: quiz.proto, and what protoc makes of it."""
