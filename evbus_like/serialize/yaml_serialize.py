"""YAML, for people to read; a hundred times slower than JSON. `values.py` has the table of types."""

import yaml

from evbus_like.engine import values

__virtualname__ = "yaml"
CONTENT_TYPE = "application/yaml"

Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_BYTES = 16 * 1024 * 1024


class PlainDumper(Dumper):
    """Writes every value out: no anchors, for a reader may refuse aliases as this one does."""

    def ignore_aliases(self, data):
        """Never refer back."""
        return True


def dump(hub, data) -> bytes:
    """Serialize a body; raises SerializeError, which names the place in the body."""
    plain = values.plain(data, True)
    return yaml.dump(plain, Dumper=PlainDumper, encoding="utf-8", allow_unicode=True, sort_keys=False)


def load(hub, data: bytes):
    """Give the body that was serialized; aliases are refused, for a few lines of them fill any memory."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"a YAML body of {len(data)} bytes is refused: the limit is {MAX_BYTES}")
    if b"*" in data and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(data, Loader=Loader)):
        raise ValueError("a YAML body with aliases is refused: they can expand without end")
    return yaml.load(data, Loader=Loader)
