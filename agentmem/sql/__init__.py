"""SQLite and PostgreSQL behind the port, and the models for hosts that want the tables in their own Session."""

from agentmem.sql.models import Base, MemoryEntry, Partition, metadata

__all__ = ["Base", "MemoryEntry", "Partition", "metadata"]
