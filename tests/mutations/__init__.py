"""The mutation check: promises broken on purpose, each of which a test must notice; `python -m tests.mutations`."""
