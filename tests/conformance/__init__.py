"""The conformance suite, run on every plugin that ships with the package and on one that does not."""
