"""A transfer: a method's answer that says that another method answers instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Transfer:
    """Hand the request on: `service.method` gets these arguments, and its answer goes to the first caller."""

    service: str
    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
