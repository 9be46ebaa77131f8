"""`python -m agentmem.cli` is the `agentmem` command."""

from agentmem.cli import main

if __name__ == "__main__":
    main()
