"""Sharing shards out: whoever comes and goes, each shard has one worker, and no worker has two more than another."""

from hypothesis import given
from hypothesis import strategies as st

from evbus_like.amqp.sharing import Member, to_give, to_take


def settle(shards, workers, rounds=60):
    """Let workers decide one after another, each by what all announce, until nothing changes; give their shards."""
    for _ in range(rounds):
        before = dict(workers)
        for name in workers:
            me = Member(name, frozenset(workers[name]), shards)
            others = [Member(each, frozenset(has), shards) for each, has in workers.items() if each != name]
            workers[name] = (set(workers[name]) | set(to_take(me, others))) - set(to_give(me, others))
        if workers == before:
            return workers
    raise AssertionError("never at rest")


@given(st.integers(1, 40), st.lists(st.booleans(), min_size=1, max_size=12))
def test_each_shard_has_one_worker_and_none_has_two_more_than_another(shards, changes):
    workers, born = {}, 0
    for comes in changes:
        if comes or not workers:
            born += 1
            workers[f"w{born}"] = set()
        else:
            del workers[max(workers, key=lambda name: (len(workers[name]), name))]
        if not workers:
            continue
        settle(shards, workers)
        sizes = [len(has) for has in workers.values()]
        assert sorted(shard for has in workers.values() for shard in has) == list(range(shards))
        assert max(sizes) - min(sizes) <= 1


def test_workers_that_decide_at_the_same_time_take_different_shards():
    workers = [Member(name, frozenset(), 7) for name in "cab"]
    taken = [to_take(each, [other for other in workers if other != each]) for each in workers]
    assert sorted(shard for shards in taken for shard in shards) == list(range(7))


def test_only_one_worker_gives_up_shards_at_a_time():
    full = [Member(name, frozenset(range(at, at + 4)), 12) for at, name in ((0, "a"), (4, "b"), (8, "c"))]
    newcomer = Member("d", frozenset(), 12)
    given_up = [to_give(each, [other for other in (*full, newcomer) if other != each]) for each in full]
    assert sorted(map(len, given_up)) == [0, 0, 2]


def test_a_worker_that_knows_fewer_shards_gets_none_of_the_others():
    # Given a worker of the version before, with four shards, and a new one with six
    old, new = Member("old", frozenset(), 4), Member("new", frozenset({4, 5}), 6)
    assert to_give(new, [old]) == []
    assert to_take(old, [new]) == [0, 1, 3]
    assert to_take(new, [old._replace(shards=frozenset({0, 1, 3}))]) == [2]


def test_a_shard_that_stays_free_is_taken_whosever_turn_it_is():
    me, busy = Member("b", frozenset({0, 1}), 3), Member("a", frozenset(), 3)
    assert to_take(me, [busy]) == []
    assert to_take(me, [busy], free_for_long=[2]) == [2]
