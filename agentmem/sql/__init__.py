"""SQLite and PostgreSQL behind the port, and the models for hosts that want the tables in their own Session."""

import agentmem.sql.flush  # noqa: F401 - registers what a host's Session does around an entry
from agentmem.sql.autogenerate import include_name, include_name_for, metadata_for
from agentmem.sql.models import Base, MemoryEntry, Partition, metadata

__all__ = ["Base", "MemoryEntry", "Partition", "include_name", "include_name_for", "metadata", "metadata_for"]
