"""Random damage to the outbox, in short; `python -m tests.faults.damage` has the long form."""

from tests.faults.damage import run


async def test_after_random_damage_no_body_is_wrong_and_no_loss_is_silent():
    results = await run(rounds=25, seed=7, bases=4)

    assert results.rounds == 25
    assert results.wrong == [], results
