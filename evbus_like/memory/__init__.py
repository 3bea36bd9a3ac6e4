"""Events in memory: queues and exchanges of this process."""
