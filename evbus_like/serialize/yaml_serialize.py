"""YAML, readable by people; a hundred times slower than JSON. The reference on serializers has the table of types."""

from typing import Any

import yaml

from evbus_like import plugin
from evbus_like.hub import decoding

__virtualname__ = "yaml"
CONTENT_TYPE = "application/yaml"

Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
MAX_BYTES = 1024 * 1024 * (16 if hasattr(yaml, "CSafeLoader") else 1)  # the loader in Python is 20 times slower


class PlainDumper(Dumper):  # type: ignore[misc]  # PyYAML has no types
    """Writes no anchors and aliases: readers may refuse them, as this one does."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write every value in full."""
        return True


def dump(hub: Any, data: Any) -> bytes:
    """Serialize a body; raises SerializeError that names the place in the body."""
    plain = plugin.plain(data, True)
    return yaml.dump(plain, Dumper=PlainDumper, encoding="utf-8", allow_unicode=True, sort_keys=False)


def load(hub: Any, data: bytes) -> Any:
    """Return the body that was serialized; aliases are refused, because a few lines of them can fill the memory."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"a YAML body of {len(data)} bytes is refused: the limit is {MAX_BYTES}")
    from evbus_like.engine import yaml_text  # of use where YAML is received alone

    most = min(decoding.max_elements(hub), yaml_text.MAX_ELEMENTS)
    return yaml_text.load_yaml(data, "the body", aliases=False, text_keys=False, max_elements=most)
