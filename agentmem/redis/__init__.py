"""The Redis backend: plain Redis 6.2 or later, or Valkey; no modules."""
