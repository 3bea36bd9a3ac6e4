"""hub/profiles/contract.py: what a wrong plugin is refused for, before its profile is used."""

import inspect
from types import SimpleNamespace

import pytest

from evbus_like.engine.errors import ProfileError
from evbus_like.hub.profiles import contract, plan


class Function:
    """A function as pop binds it to the hub."""

    def __init__(self, func):
        self.func = func
        self.signature = inspect.signature(func)

    def __call__(self, *args):
        return self.func(None, *args)


def plugin(**members):
    functions = {name: Function(each) for name, each in members.items() if inspect.isfunction(each)}
    return SimpleNamespace(__name__="pigeon", **{**members, **functions}, _funcs=functions)


async def asynchronous(hub, ctx):
    pass


async def with_ctx_only(ctx):
    pass


def no_ctx(hub):
    pass


def no_ctx_needed(hub, *args):
    pass


def publish_batch(hub, ctx, events):
    pass


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"LANE": {"batch_event": 1}}, "there is no option LANE.batch_event; did you mean 'batch_events'?"),
        ({"LANE": {"colour": 1}}, "there is no option LANE.colour; there is: attempts, batch_bytes, batch_events,"),
        ({"LANE": {"batch_events": "7"}}, "option LANE.batch_events must be of type int, not str"),
        ({"LANE": {"when_full": "wait"}}, "option LANE.when_full must be block or drop_new or drop_old or spill"),
        ({"LANE": ["batch_events"]}, "LANE must be a mapping of fields of LaneOptions, not list"),
        (
            {"OPTIONS": {"host": ("str", "where")}},
            "OPTIONS['host'] must be (type or types, help), not ('str', 'where')",
        ),
        ({"OPTIONS": {"host": str}}, "OPTIONS['host'] must be (type or types, help)"),
        ({"OPTIONS": {"host": (dict[str, int], "where")}}, "OPTIONS['host'] must be (type or types, help)"),
        ({"OPTIONS": ["host"]}, "OPTIONS must be a mapping, not list"),
        ({"validate": asynchronous}, "validate must be a plain function, not async"),
        ({"limits": asynchronous}, "limits must be a plain function, not async"),
        ({"limits": no_ctx}, "limits has the parameters (hub); it must be limits(hub, ctx)"),
        ({"open": with_ctx_only}, "open has the parameters (ctx); it must be open(hub, ctx)"),
        ({"publish_batch": asynchronous}, "publish_batch has the parameters (hub, ctx); it must be publish_batch(hub,"),
    ],
)
def test_a_wrong_plugin_is_a_profile_error_that_names_it_and_what_is_right(members, said):
    with pytest.raises(ProfileError) as caught:
        contract.check(plugin(**members))

    assert str(caught.value).startswith("the ingress plugin 'pigeon' is wrong: ")
    assert said in str(caught.value)


def test_a_right_plugin_is_accepted():
    contract.check(
        plugin(
            LANE={"batch_events": 7, "max_event_bytes": None, "retry_base": 0.5, "timeout": 3},
            OPTIONS={"host": (str | None, "where"), "port": ((int, float), "which"), "any": (object, "what")},
            open=asynchronous,
            close=lambda hub, ctx, **more: None,
            validate=lambda hub, *args: None,
            limits=lambda hub, ctx: {},
            publish_batch=publish_batch,
        )
    )


def source(**members):
    async def subscribe(hub, ctx, subscription): ...

    async def receive(hub, ctx, feed): ...

    async def ack(hub, ctx, feed, events): ...

    async def requeue(hub, ctx, feed, event): ...

    async def dead(hub, ctx, feed, event, reason): ...

    async def unsubscribe(hub, ctx, feed): ...

    required = {name: each for name, each in locals().items() if name != "members"}
    return plugin(**{**required, **members})


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"dead": None}, "it has no function dead"),
        ({"dead": no_ctx}, "dead has the parameters (hub); it must be dead(hub, ctx, feed, event, reason)"),
        ({"ack": asynchronous}, "ack has the parameters (hub, ctx); it must be ack(hub, ctx, feed, events)"),
        ({"retry": asynchronous}, "it must be retry(hub, ctx, feed, event, delay)"),
        ({"check": asynchronous}, "check must be a plain function, not async"),
        ({"validate": asynchronous}, "validate must be a plain function, not async"),
        ({"OPTIONS": {"loft": str}}, "OPTIONS['loft'] must be (type or types, help)"),
    ],
)
def test_a_wrong_egress_plugin_is_a_profile_error_that_names_it_and_what_is_right(members, said):
    with pytest.raises(ProfileError) as caught:
        contract.check_source(source(**members))

    assert str(caught.value).startswith("the egress plugin 'pigeon' is wrong: ")
    assert said in str(caught.value)


def test_a_right_egress_plugin_is_accepted():
    contract.check_source(source(validate=no_ctx_needed, check=lambda hub, ctx, subscription: None))


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ({"batch_events": 1.5}, "option limits.batch_events must be of type int, not float"),
        (None, "limits must be a mapping of fields of LaneOptions, not NoneType"),
    ],
)
def test_what_limits_returns_is_checked(returned, said):
    with pytest.raises(ProfileError, match=f"the ingress plugin 'pigeon' is wrong: {said}"):
        contract.limits(plugin(limits=lambda hub, ctx: returned), None)


def test_limits_override_the_constants_of_the_plugin():
    made = plugin(LANE={"batch_events": 1, "max_events": 2}, limits=lambda hub, ctx: {"batch_events": 3})

    assert contract.limits(made, None) == {"batch_events": 3, "max_events": 2}


async def test_every_profile_of_a_wrong_plugin_is_named_and_no_other(hub, monkeypatch):
    monkeypatch.setattr(hub.ingress.amqp, "LANE", {"batch_event": 1})

    with pytest.raises(ProfileError) as caught:
        plan.entries(hub, {"amqp": {"a": {}, "b": {}}, "internal": {"c": {}}}, lambda failure: None)

    assert "profile amqp:a: the ingress plugin 'amqp' is wrong: there is no option LANE.batch_event" in str(
        caught.value
    )
    assert "amqp:b" in str(caught.value)
    assert "internal:c" not in str(caught.value)
