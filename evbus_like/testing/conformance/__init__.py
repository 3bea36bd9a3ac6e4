"""Conformance suites: the tests that every plugin for destinations, and every plugin for sources, passes.

The author of a plugin subclasses a suite, declares the features of the destination or source, and gives a target that
describes a fresh one. docs/plugins.md shows complete ones, and lists all members. It needs pytest and pytest-asyncio.

.. code-block:: python

    from evbus_like.testing.conformance import Features, IngressConformance, Record, Target

    class PigeonTarget(Target):
        provider = "pigeon"
        keys = ("one", "two", "three")

        def profile(self):
            return {"loft": "north"}

        async def read(self, count):
            return [Record(pigeon.tag, pigeon.message) for pigeon in await fetch("north")]

    class TestPigeon(IngressConformance):
        features = Features(headers=False, content_type=False, connects=False, refuses_login=False)

        @pytest.fixture
        def target(self):
            return PigeonTarget()

A difference between plugins is a declared feature, not an edited test: a test of a feature that is False is skipped.

`SourceConformance` does the same for sources, with a `SourceTarget` and `SourceFeatures`. If several processes can
share the source, its tests start worker processes (worker.py).
"""

from __future__ import annotations

from evbus_like.testing.conformance.batches import Batches
from evbus_like.testing.conformance.bodies import Bodies
from evbus_like.testing.conformance.deciding import Deciding
from evbus_like.testing.conformance.delivery import Delivery
from evbus_like.testing.conformance.faults import Faults
from evbus_like.testing.conformance.looking import Looking
from evbus_like.testing.conformance.settling import Settling
from evbus_like.testing.conformance.sharing import Sharing
from evbus_like.testing.conformance.source_faults import SourceFaults
from evbus_like.testing.conformance.source_target import SourceFeatures, SourceTarget
from evbus_like.testing.conformance.target import Features, Record, Target

__all__ = [
    "Features",
    "IngressConformance",
    "Record",
    "SourceConformance",
    "SourceFeatures",
    "SourceTarget",
    "Target",
]


class IngressConformance(Bodies, Delivery, Faults):
    """The tests for destinations: subclass it as Test..., set `features`, and override the fixture `target`."""


class SourceConformance(Sharing, Settling, Deciding, Batches, SourceFaults, Looking):
    """The tests for sources: subclass it as Test..., set `features`, and override the fixture `target`."""
