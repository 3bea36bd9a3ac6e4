"""The conformance suite: one set of tests that every ingress plugin passes.

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
"""

from __future__ import annotations

from evbus_like.testing.bodies import Bodies
from evbus_like.testing.delivery import Delivery
from evbus_like.testing.faults import Faults
from evbus_like.testing.target import Features, Record, Target

__all__ = ["Features", "IngressConformance", "Record", "Target"]


class IngressConformance(Bodies, Delivery, Faults):
    """Subclass it as Test..., set `features`, and override the fixture `target`."""
