"""The lanes of a soak's publishers: each kind of profile, at each broker.

A profile's name is "publisher-kind-provider", a routing key "publisher-kind-provider.key", so that every message shows
where it comes from.
"""

from typing import Any

from tests.faults.sites import Site

KEYS = ("eu", "us", "asia")
TIMEOUT = 5.0
KINDS: dict[str, dict[str, Any]] = {
    "durable": {"outbox": "always", "max_events": 5000},
    "spill": {"when_full": "spill", "max_events": 200},
    "memory": {"max_events": 500},
    "drop": {"when_full": "drop_old", "max_events": 100},
}
HEARTBEAT = {"amqp": {"heartbeat": 5}}


def profiles(publisher: str, kinds: tuple[str, ...], sites: list[Site]) -> dict[str, dict[str, Any]]:
    """Give a publisher's profiles by provider and name."""
    return {
        site.provider: {
            f"{publisher}-{kind}-{site.provider}": site.profile(
                connection=HEARTBEAT.get(site.provider), timeout=TIMEOUT, **KINDS[kind]
            )
            for kind in kinds
        }
        for site in sites
    }


def kind_of(profile: str) -> str:
    """Give the kind of a profile."""
    return profile.split("-")[1]


def provider_of(profile: str) -> str:
    """Give the provider of a profile."""
    return profile.split("-")[2]


def most_lost_by_a_kill(profile: str, confirm: str) -> int:
    """Give how many events a lane may lose by a kill although their puts returned: those that are only in memory.

    Each key may have one more that is being put.
    """
    if confirm == "delivered" or kind_of(profile) == "durable":
        return 0
    return int(KINDS[kind_of(profile)]["max_events"]) + len(KEYS)
