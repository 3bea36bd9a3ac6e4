"""The settings of evbus_like, for applications that load those of `evbus`; plugins and code are evbus_like's own."""

from evbus_like.conf import CONFIG as SETTINGS

CONFIG = {name: spec for name, spec in SETTINGS.items() if "os" in spec}  # the others are for its command alone
# Such applications put whatever they have, and are commands that people wait for, also with a broker that is down.
for name, value in (("serial_plugin", "pop_json"), ("stop_grace", 1.0)):
    CONFIG[name] = {**CONFIG[name], "default": value}
