"""SQLite and PostgreSQL behind the port, and the models for hosts that want the tables in their own Session."""

from agentmem.sql.autogenerate import include_declared, include_name, include_name_for, metadata_for
from agentmem.sql.models import Base, LearnedValue, MemoryEntry, Partition, QueueItem, metadata
from agentmem.sql.named_models import Models, models_for

__all__ = [
    "Base",
    "LearnedValue",
    "MemoryEntry",
    "Models",
    "Partition",
    "QueueItem",
    "include_declared",
    "include_name",
    "include_name_for",
    "metadata",
    "metadata_for",
    "models_for",
]
