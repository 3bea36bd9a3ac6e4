"""monitor/merge.py: the rows of several processes as one."""

from evbus_like.monitor import merge


def lane(**facts):
    return {"state": "open", "waiting": 0, "dropped": {}, "dead": 0, "oldest_age": 0.0, "trouble": "", **facts}


def status(*lanes):
    return {"processes": [{"bus": {"destinations": {"amqp:a": each}}} for each in lanes]}


def test_counts_are_summed_and_the_oldest_age_is_the_largest():
    one = lane(waiting=1, dropped={"drop_new": 1}, oldest_age=3.0)
    other = lane(waiting=2, dropped={"drop_new": 2, "drop_old": 1}, oldest_age=1.0, trouble="away")

    (row,) = merge.destinations(status(one, other)).values()
    assert (row["waiting"], row["oldest_age"], row["trouble"]) == (3, 3.0, "away")
    assert row["dropped"] == {"drop_new": 3, "drop_old": 1}
    assert one["waiting"] == 1  # the document is as it was


def test_states_that_differ_are_all_named():
    (row,) = merge.destinations(status(lane(), lane(), lane(state="retrying"))).values()
    assert row["state"] == "2 open, 1 retrying"


def test_a_removed_profile_is_shown_while_it_holds_events():
    assert merge.destinations(status(lane(state="closed"))) == {}
    assert set(merge.destinations(status(lane(state="closed", waiting=1)))) == {"amqp:a"}


def test_a_lag_that_one_process_does_not_know_is_that_of_the_others():
    def process(lag):
        row = {"handler": "a.b", "source": "kafka:c", "state": "open", "lag": lag, "shards": 4}
        return {"handlers": {"x": row}, "services": {}}

    for lags, lag in (((None, 3, 4), 7), ((2, None), 2), ((None, None), None)):
        (row,) = merge.handlers({"processes": [process(each) for each in lags]}).values()
        assert (row["lag"], row["shards"]) == (lag, 4)


def test_the_times_of_all_processes_are_one_histogram():
    def process(count, reads):
        times = {"count": count, "sum": 0.5 * count, "buckets": {"1.0": count}}
        row = {"handler": "a.b", "source": "c", "state": "open", "shards": 4, "running": times, "reads": reads}
        return {"handlers": {"x": row}, "services": {}}

    (row,) = merge.handlers({"processes": [process(2, [1]), process(3, [2, 3])]}).values()
    assert row["running"] == {"count": 5, "sum": 2.5, "buckets": {"1.0": 5}}
    assert row["reads"] == [1, 2, 3]
