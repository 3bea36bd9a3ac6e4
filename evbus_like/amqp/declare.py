"""A profile's `declare:` block: the exchange that is made where it does not exist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evbus_like.engine.errors import ProfileError
from evbus_like.engine.options import problems

DECLARE = {
    "type": (str, "topic, direct, fanout, headers or what a plugin of the broker brings; topic by default"),
    "durable": (bool, "the exchange survives a restart of the broker; true by default"),
    "auto_delete": (bool, "the exchange goes with its last binding"),
    "internal": (bool, "only other exchanges may publish to it"),
    "arguments": (Mapping, "further arguments, such as alternate-exchange"),
}


def check(acct: Mapping[str, Any]) -> None:
    """Raise ProfileError where the block is wrong, or has no exchange to declare."""
    block = acct.get("declare")
    if block is None:
        return
    wrong = list(problems(block, DECLARE, "declare."))
    if acct.get("exchange") in (None, "", "default"):
        wrong.append("declare needs the exchange's name; the default exchange always exists")
    if wrong:
        raise ProfileError("; ".join(wrong))
