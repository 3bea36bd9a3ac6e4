"""Declared events: a function's signature is the event's schema; types are checked and cast by msgspec."""
