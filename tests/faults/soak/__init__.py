"""The long form of the fault suite: `python -m tests.faults.soak --minutes 60`."""
