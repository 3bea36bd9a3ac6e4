"""What only a fresh interpreter shows: imports, the log plugin, ids after a fork, the testing aids."""

import os


def test_a_bus_without_regular_expressions_does_not_import_their_library(run_python):
    script = """
        import asyncio, sys
        from evbus_like.testing import new_hub, running

        async def main(matcher, name):
            hub = new_hub()
            hub.match.PLUGIN = matcher
            async with running({"internal": {name: None}}, hub):
                await hub.evbus.broker.put("key", 1, "abc", confirm="delivered")

        for matcher, name in (("glob", "a*"), ("regex", "a.*")):
            asyncio.run(main(matcher, name))
            print(any(module.split(".")[0] == "regex" for module in sys.modules))
    """
    assert run_python(script).split() == ["False", "True"]


def test_a_forked_child_makes_other_ids(run_python):
    out = run_python(
        """
        import os
        from evbus_like.engine.event import Event
        new_id = lambda: Event('', 1, '').id
        new_id()
        if not (child := os.fork()):
            print(new_id(), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print(new_id(), flush=True)
        """
    )

    first, second = out.split()
    assert first.split("-")[0] != second.split("-")[0]
    assert hasattr(os, "fork")


def test_the_log_plugin_takes_another_profile(run_python):
    out = run_python(
        """
        import logging, pop.hub
        hub = pop.hub.Hub()
        hub.pop.sub.add(dyne_name="evbus")
        hub.pop.sub.add(dyne_name="render") if not hasattr(hub, "render") else None
        hub.log.queue.setup({"log_level": "info", "log_fmt_console": "%(message)s", "log_datefmt": "%H",
            "log_fmt_logfile": "%(asctime)s %(message)s", "log_handler_options": ["profile=audit"]})
        logging.getLogger("app").info("hello")
        event = hub.evbus.BUS.get_nowait()
        print(event.profile, event.body["message"], event.quiet)
        """
    )

    assert out.split() == ["audit", "hello", "True"]


def test_the_testing_aids_of_applications_need_no_pytest(run_python):
    script = """
        import sys
        sys.modules["pytest"] = sys.modules["pytest_asyncio"] = None
        import importlib.util
        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *more: None if name == "pytest" else find(name, *more)
        from evbus_like.testing import handling, running
        print("fine")
    """
    assert run_python(script) == "fine\n"
