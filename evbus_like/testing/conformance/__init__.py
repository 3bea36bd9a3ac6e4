"""The conformance suites: one set of tests that every ingress plugin passes, and one for egress plugins.

A plugin's author makes a `Target`, which describes one fresh destination and reads it without the plugin's help,
declares what the kind of destination can do, and runs pytest (with pytest-asyncio):

.. code-block:: python

    from evbus_like.testing.conformance import Features, IngressConformance, Record, Target

    class PigeonTarget(Target):
        provider = "pigeon"
        keys = ("one", "two", "three")

        def profile(self):
            return {"loft": "north"}

        async def read(self, count):
            return [Record(pigeon.tag, pigeon.message) for pigeon in await fetch("north", count)]

    class TestPigeon(IngressConformance):
        features = Features(headers=False, content_type=False, connects=False, refuses_login=False)

        @pytest.fixture
        def target(self):
            return PigeonTarget()

A difference between plugins is a declared feature, never an edited test: a test about a feature that is declared to
be missing is skipped and says so.

A source is tested in the same way, by `SourceConformance`: its author makes a `SourceTarget`, which publishes events
without the plugin's help and gives dead letters, and declares `SourceFeatures`. Where several processes can share the
source, the tests start worker processes (evbus_like/testing/conformance/worker.py):

.. code-block:: python

    from evbus_like.testing.conformance import Record, SourceConformance, SourceFeatures, SourceTarget

    class PigeonSource(SourceTarget):
        provider = "pigeon"

        def profile(self):
            return {"loft": "north"}

        async def publish(self, service, event_type, body, headers=None, id="", content_type="", key=None):
            await release("north", service, event_type, body, tag=id)

        async def dead_letters(self, subscription):
            return [Record(pigeon.kind, pigeon.message, pigeon.tag) for pigeon in await fetch(subscription.dead)]

    class TestPigeonSource(SourceConformance):
        features = SourceFeatures(headers=False, content_type=False, survives_restart=False)

        @pytest.fixture
        def target(self):
            return PigeonSource()
"""

from __future__ import annotations

from evbus_like.testing.conformance.bodies import Bodies
from evbus_like.testing.conformance.delivery import Delivery
from evbus_like.testing.conformance.faults import Faults
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
    """Subclass it as Test..., set `features`, and override the fixture `target`."""


class SourceConformance(Sharing, Settling, SourceFaults):
    """Subclass it as Test..., set `features`, and override the fixture `target`."""
