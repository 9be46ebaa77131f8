"""Connections for any number of threads, on any driver: lent, repaired, given back, carried over forks."""
