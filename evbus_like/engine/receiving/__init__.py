"""Receiving: from a source to a handler, and the answer back to the source."""
