"""Testing aids that ship with the package: `running` for an application's own tests, `conformance` for plugin authors.

`running` needs nothing but the package. `conformance` needs pytest and pytest-asyncio.
"""

import importlib.util

from evbus_like.testing.running import eventually, new_hub, running

if importlib.util.find_spec("pytest"):
    import pytest

    # Before they are imported, so that a failed assert in them shows its values.
    pytest.register_assert_rewrite(
        *(
            f"evbus_like.testing.{name}"
            for name in (
                "bodies",
                "delivery",
                "faults",
                "suite",
                "sharing",
                "settling",
                "source_faults",
                "source_suite",
            )
        )
    )

__all__ = ["eventually", "new_hub", "running"]
