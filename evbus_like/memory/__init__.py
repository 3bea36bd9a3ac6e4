"""The in-memory backend: queues and exchanges within one process."""
