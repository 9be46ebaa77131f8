"""How fast agentmem is beside the raw driver, measured in one run: `python -m benchmarks --help`."""
