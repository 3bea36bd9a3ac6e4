"""The contract of a match plugin, and its documentation.

A plugin is one file with one function::

    def find(hub, name: str, pattern: str) -> bool:

`name` is an event's profile, `pattern` a profile's name in the credentials. Optional, for speed::

    def compile(hub, pattern):                 # gives a function of `name`; called once, when the bus starts

An exception from `compile` stops the start and names the profile. One from `find`, or from what `compile` gave, refuses
the event: put raises BadEvent. Answers and exceptions are cached by name, so a plugin must give the same answer to the
same question. It runs in the listener's loop: a plugin that can take long must stop itself, as regex does.
"""
