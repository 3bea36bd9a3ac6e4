# A package for the tests of the command: a source that reads lines of a file.
DYNE = {"egress": ["egress"]}
