"""What pop reads: settings, command-line options and the folders it merges onto the hub. No imports here."""

YEAR = 31_536_000  # seconds

# "range" is ours, not pop's: the least and the largest value, and the unit. So is "or_number": text that may be a
# whole number without quotes in a settings file. And "longest", the most bytes of a text, and "path", any bytes.
CONFIG = {
    "config": {
        "path": True,
        "default": None,
        "os": "EVBUS_CONFIG",
        "help": "A YAML file with these settings, under evbus_like:, and the settings of acct and pop_config",
    },
    "acct_file": {
        "path": True,
        "os": "ACCT_FILE",
        "default": None,
        "sensitive": True,
        "help": "The credentials file: plain YAML, or encrypted by the acct command (environment: ACCT_FILE)",
    },
    "acct_key": {
        "os": "ACCT_KEY",
        "default": None,
        "sensitive": True,
        "help": "The key of an encrypted credentials file (safer in the environment: ACCT_KEY)",
    },
    "acct_renderers": {
        "os": "EVBUS_ACCT_RENDERERS",
        "default": None,
        "help": "Further renderers that the first line of a credentials file may name, such as jinja, with spaces"
        " between. They run code as this user: only for files that nobody else can write (default: yaml and json)",
    },
    "serial_plugin": {
        "os": "EVBUS_SERIAL_PLUGIN",
        "default": "json",
        "help": "The serializer of profiles that name none: json, msgpack, yaml, str or a plugin's name",
    },
    "match_plugin": {
        "os": "EVBUS_MATCH_PLUGIN",
        "default": "glob",
        "help": "How event profiles are matched against profile names: glob, regex or exact",
    },
    "error_callback_ref": {
        "os": "EVBUS_ERROR_CALLBACK_REF",
        "default": None,
        "help": "The function on the hub that is called with events that could not be delivered: my_app.errors.handle",
    },
    "max_queued": {
        "os": "EVBUS_MAX_QUEUED",
        "default": 100000,
        "type": int,
        "help": "The largest number of events in the intake queue",
        "range": (1, 10**9, "events"),
    },
    "max_queued_bytes": {
        "os": "EVBUS_MAX_QUEUED_BYTES",
        "default": 32 * 1024 * 1024,
        "type": int,
        "help": "The most bytes of events in the intake queue; the last event may exceed it, then put waits",
        "range": (4096, 2**53, "bytes"),
    },
    "outbox_path": {
        "path": True,
        "os": "EVBUS_OUTBOX",
        "default": None,
        "help": "The outbox file, for profiles with outbox: always or when_full: spill, and for dead letters"
        " (default: evbus_like/APPLICATION/outbox.sqlite in the XDG state folder, where a profile needs one)",
    },
    "outbox_max_bytes": {
        "os": "EVBUS_OUTBOX_MAX_BYTES",
        "default": 1024 * 1024 * 1024,
        "type": int,
        "help": "The largest size of the events and dead letters in the outbox, in bytes",
        "range": (4096, 2**53, "bytes"),
    },
    "max_body_elements": {
        "os": "EVBUS_MAX_BODY_ELEMENTS",
        "default": 250000,
        "type": int,
        "help": "The most keys and values of a received body; one with more is not decoded",
        "range": (20_000, 10**8, "keys and values"),
    },
    "log_bodies": {
        "os": "EVBUS_LOG_BODIES",
        "default": False,
        "help": "Show the body in the log of a handler or a method that fails, except what it marks as sensitive",
    },
    "log_format": {
        "os": "EVBUS_LOG_FORMAT",
        "default": "text",
        "help": "The form of the log: text, or json, one object a line",
    },
    "quorum": {
        "os": "EVBUS_QUORUM",
        "default": False,
        "help": "Declare the queues of RabbitMQ as quorum queues, for profiles that do not have the option quorum",
    },
    "lifespan_timeout": {
        "os": "EVBUS_LIFESPAN_TIMEOUT",
        "default": 20.0,
        "type": float,
        "help": "Seconds that the start functions of an application's lifespan plugins may take together; so may the"
        " stop functions, but at most half of the stop",
        "range": (0.001, YEAR, "seconds"),
    },
    "put_timeout": {
        "os": "EVBUS_PUT_TIMEOUT",
        "default": 30.0,
        "type": float,
        "help": "Seconds that a put waits for room, acceptance or delivery before it raises",
        "range": (0, YEAR, "seconds"),
    },
    "stop_timeout": {
        "os": "EVBUS_STOP_TIMEOUT",
        "default": 30.0,
        "type": float,
        "help": "Seconds that a stop may take to deliver queued events",
        "range": (0, YEAR, "seconds"),
    },
    "stop_grace": {
        "os": "EVBUS_STOP_GRACE",
        "default": 2.0,
        "type": float,
        "help": "Seconds that a stop waits for a destination that is down (if it has not failed yet, until 5 after the"
        " start of the bus); then its events stay in the outbox, or are lost from memory and reported",
        "range": (0, YEAR, "seconds"),
    },
    "watch_credentials": {
        "os": "EVBUS_WATCH_CREDENTIALS",
        "default": False,
        "help": "Reload when the credentials file changes, as SIGHUP does: for mounted secrets that are replaced",
    },
    "reload": {
        "default": False,
        "help": "Start again whenever the code in the current folder or in one of PYTHONPATH changes, for developing",
    },
    "http": {
        "os": "EVBUS_HTTP",
        "default": None,
        "or_number": True,
        "help": "The HTTP port for probes, metrics and people: PORT, for this machine alone, or HOST:PORT (default:"
        " none)",
    },
    "http_token": {
        "os": "EVBUS_HTTP_TOKEN",
        "default": None,
        "sensitive": True,
        "help": "The token that readers of the HTTP port send, as Authorization: Bearer TOKEN (safer in the"
        " environment: EVBUS_HTTP_TOKEN)",
    },
    "http_open": {
        "os": "EVBUS_HTTP_OPEN",
        "default": False,
        "help": "Let everybody who reaches the HTTP port read it, without a token, also from other machines",
    },
    "processes": {
        "os": "EVBUS_PROCESSES",
        "default": None,
        "help": "Run this many worker processes under a supervisor, or one for each CPU: auto (default: no supervisor)",
        "range": (1, 256, "processes"),
        "words": ("auto",),
    },
    "worker_timeout": {
        "os": "EVBUS_WORKER_TIMEOUT",
        "default": 300.0,
        "type": float,
        "help": "Seconds after which a worker whose event loop does not run is killed and restarted; 0: never",
        "range": (0, YEAR, "seconds"),
    },
    "broadcast_identifier": {
        "os": "EVBUS_BROADCAST_IDENTIFIER",
        "default": None,
        "help": "The name of this instance for handlers with BROADCAST delivery, such as the host name"
        " (default: random at each start)",
    },
    "rpc_timeout": {
        "os": "EVBUS_RPC_TIMEOUT",
        "default": 30.0,
        "type": float,
        "help": "Seconds that a call waits for its answer, unless it says otherwise",
        "range": (0.001, YEAR, "seconds"),
    },
    "services_file": {
        "path": True,
        "os": "EVBUS_SERVICES_FILE",
        "default": None,
        "help": "A YAML or INI file with the profile and the exchange of each service (default: the profile"
        " default for all)",
    },
    "service_name": {
        "os": "EVBUS_SERVICE_NAME",
        "default": None,
        "longest": 200,  # RabbitMQ takes 255 for the name of a queue
        "help": "The name of this application as a caller: a part of the names of its queues of answers (default: app)",
    },
    "timeout": {
        "default": 30.0,
        "type": float,
        "help": "evbus demo, evbus pipe: seconds to wait at the end for undelivered events. evbus check: seconds to"
        " wait for each answer. evbus outbox: flush ends when nothing was sent for so many seconds. evbus dead:"
        " replay --send ends when nothing was sent for so many seconds",
        "range": (0, YEAR, "seconds"),
    },
    "json": {
        "default": False,
        "help": "Print one JSON document instead of a table",
    },
    "watch": {
        "default": False,
        "help": "evbus status: show it again every second, until Ctrl-C",
    },
    "repeat": {
        "default": 1,
        "type": int,
        "help": "How many times to send the 329 webhooks",
        "range": (1, 10**6, "times"),
    },
    "events": {
        "path": True,
        "default": [],
        "help": "Files of newline-delimited JSON events; - or none means standard input",
    },
    "from_line": {
        "default": 1,
        "type": int,
        "range": (1, 2**53, "lines"),
        "help": "evbus pipe: begin with this line of the first file, as a pipe that stopped early says",
    },
    "event_profile": {
        "default": None,
        "help": "The event profile to explain, as in put(profile=...)",
    },
    "default_profile": {
        "default": "default",
        "help": "The event profile of events that name none",
    },
    "asyncapi": {
        "default": False,
        "help": "evbus schema: an AsyncAPI 3.0 document of what is sent, received and served, instead of a JSON Schema",
    },
    "html": {
        "default": False,
        "help": "evbus schema: one HTML page of the AsyncAPI document, for people",
    },
    "title": {
        "default": "Declared events",
        "help": "evbus schema: with --asyncapi or --html, the title in the document",
    },
    "api_version": {
        "default": "1.0.0",
        "help": "evbus schema: with --asyncapi or --html, the version of the application's interface in the document",
    },
    "app": {
        "default": [],
        "help": "Use only the handlers and services of these packages (default: those of every package in the"
        " current folder, on PYTHONPATH or installed)",
    },
    "only": {
        "default": [],
        "help": "Only these handlers and methods: patterns of service.name, or of services: shipping.ship 'audit*'",
    },
    "skip": {
        "default": [],
        "help": "All handlers and methods but these: patterns as for --only",
    },
    "follow_dead": {
        "default": False,
        "help": "Show dead letters as they come, instead of the events of a profile",
    },
    "source_profile": {
        "default": None,
        "help": "The profile to read from: orders, or amqp:orders if several providers have it",
    },
    "key_pattern": {
        "default": "#",
        "help": "Which event types: * stands for one word between dots, # for any number of them (default: #, all)",
    },
    "service": {
        "default": None,
        "help": "The service whose events are shown (default: that of the exchange or topic in the profile)",
    },
    "count": {
        "default": None,
        "type": int,
        "help": "Stop after this many events",
        "range": (1, 2**53, "events"),
    },
    "since": {
        "default": None,
        "help": "Start with older events if the source keeps them (Kafka): earliest, a time such as"
        " 2026-01-31T12:00, how long ago (15m, 2h, 3d), or an offset",
    },
    "handler_name": {
        "default": None,
        "help": "The handler to call: SERVICE.NAME, as `evbus handlers` shows it",
    },
    "method": {
        "default": None,
        "help": "The method to call: SERVICE.METHOD, as `evbus services` shows it",
    },
    "arguments": {
        "default": [],
        "help": "The method's arguments; a value is JSON if it parses, otherwise text: id=7 name=ann tags='[1, 2]'",
    },
    "rpc_profile": {
        "default": None,
        "help": "The profile that carries the call: orders, or amqp:orders if several providers have it (default:"
        " from the services file, else default)",
    },
    "body_file": {
        "path": True,
        "default": None,
        "help": "A file with the event's body, JSON; - means standard input",
    },
    "body": {
        "default": None,
        "help": "The event's body, JSON",
    },
    "file": {
        "path": True,
        "default": None,
        "help": "A file with the event's body, JSON; - means standard input. Also accepted after SERVICE.NAME",
    },
    "header": {
        "default": [],
        "help": "A header of the event, NAME=VALUE; may be given several times",
    },
    "shell": {
        "default": None,
        "help": "The shell: bash, zsh or fish",
    },
    "outbox_action": {
        "default": None,
        "help": "ls, flush, set-aside, discard, scheduled or cancel",
    },
    "names": {
        "default": [],
        "help": "set-aside, discard: destinations, as `evbus outbox ls` shows them; cancel: ids of events",
    },
    "db_action": {
        "default": None,
        "help": "schema, check or status",
    },
    "db_profiles": {
        "default": [],
        "help": "Profiles of the provider postgres (default: all of the credentials file)",
    },
    "db_schema": {
        "default": "public",
        "help": "evbus db: schema: the schema of the tables",
    },
    "db_parts": {
        "default": 8,
        "type": int,
        "help": "evbus db: schema: the parts of the table, which are shared out to the processes that relay",
        "range": (1, 1024, "parts"),
    },
    "db_after": {
        "default": 0,
        "type": int,
        "help": "evbus db: schema: print only what is newer than this version; 0: there are no tables yet",
        "range": (0, 10**6, "a version"),
    },
    "db_notify": {
        "default": False,
        "help": "evbus db: schema: print the trigger for profiles with listen: true instead",
    },
    "dead_action": {
        "default": None,
        "help": "ls, show, replay or purge",
    },
    "numbers": {
        "default": [],
        "help": "Dead letters, as `evbus dead ls --each` names them: numbers in the outbox, else ids of events",
    },
    "rate": {
        "default": None,
        "type": float,
        "help": "evbus plan: events that are put, a second. evbus dead: replay: letters a second, at most",
        "range": (0.001, 10**9, "events a second"),
    },
    "bytes": {
        "default": None,
        "type": int,
        "help": "evbus plan: the size of an event's body, serialized",
        "range": (1, 2**31 - 1, "bytes"),
    },
    "destinations": {
        "default": 1,
        "type": int,
        "help": "evbus plan: how many destinations each event goes to",
        "range": (1, 1000, "destinations"),
    },
    "handlers": {
        "default": 1,
        "type": int,
        "help": "evbus plan: how many handlers get each event",
        "range": (0, 1000, "handlers"),
    },
    "calls": {
        "default": 0.0,
        "type": float,
        "help": "evbus plan: calls a second",
        "range": (0, 10**9, "calls a second"),
    },
    "durable": {
        "default": False,
        "help": "evbus plan: events go through the outbox (outbox: always)",
    },
    "handler_ms": {
        "default": 0.0,
        "type": float,
        "help": "evbus plan: what a handler's own code takes of a core for an event",
        "range": (0, 10**7, "milliseconds"),
    },
    "cores": {
        "default": 4,
        "type": int,
        "help": "evbus plan: the cores of a machine, and of a broker node",
        "range": (1, 4096, "cores"),
    },
    "speed": {
        "default": 1.0,
        "type": float,
        "help": "evbus plan: the speed of a core beside the one that was measured: what `make bench` shows for the bare"
        " divided by 405,000",
        "range": (0.01, 100, "times"),
    },
    "all": {
        "default": False,
        "help": "evbus dead: replay, purge: every dead letter that matches the filters; all without a filter."
        " evbus resume: all that is paused",
    },
    "destination": {
        "default": None,
        "help": "Filter: the destination, as ls shows it, such as amqp:orders",
    },
    "dead_place": {
        "default": None,
        "help": "Look only here: outbox, or a profile: orders, or amqp:orders if several providers have it",
    },
    "dead_handler": {
        "default": None,
        "help": "Filter: the handler, SERVICE.NAME, a glob pattern: 'shipping.*'",
    },
    "to": {
        "default": None,
        "help": "replay: to this handler, SERVICE.NAME, or this destination, instead of their own",
    },
    "each": {
        "default": False,
        "help": "ls: also list the letters one by one",
    },
    "profile": {
        "default": None,
        "help": "Filter: the event's profile, as in put(profile=...)",
    },
    "routing_key": {
        "default": None,
        "help": "evbus dead: filter: the routing key, a glob pattern: 'orders.*' (* also stands for dots; quote it)."
        " evbus call-handler: the event's type (default: the first that the handler is marked with)",
    },
    "reason": {
        "default": None,
        "help": "evbus dead: filter: a part of the reason, ignoring case. evbus pause: why, for those who see it in"
        " the status",
    },
    "paused_names": {
        "default": [],
        "help": "evbus pause: handlers (SERVICE.NAME, or the service), destinations (PROVIDER:PROFILE), or patterns of"
        " them; without any, list what is paused. evbus resume: names as they were paused",
    },
    "older_than": {
        "default": None,
        "help": "Filter: dead-lettered longer ago than this: 90s, 15m, 2h, 3d or 1w",
    },
    "limit": {
        "default": None,
        "type": int,
        "help": "The largest number, the oldest first (default: ls 100, replay and purge all)",
        "range": (1, 2**53, "dead letters"),
    },
    "raw": {
        "default": False,
        "help": "show: write only the bytes of the body to standard output",
    },
    "send": {
        "default": False,
        "help": "replay: send them at once, as `evbus outbox flush` does; needs the credentials file",
    },
    "workers": {
        "default": False,
        "help": "Ask the running workers of handlers with shards which shards each of them reads",
    },
    "yes": {
        "default": False,
        "help": "purge, discard: do not ask; required without a terminal",
    },
}
# The subcommands that read credentials, and all subcommands.
_BUS = ["demo", "pipe", "check", "explain", "run", "handlers", "rpc", "call-handler", "tail", "outbox", "dead", "db"]
_BUS += ["pause"]
_ALL = [*_BUS, "services", "events", "schema", "plugins", "status", "top", "plan", "resume"]
_APP = ["run", "check", "handlers", "services", "schema"]
_PAUSE = ["pause", "resume"]
CLI_CONFIG = {
    "config": {"subcommands": [*_ALL]},
    "acct_file": {"subcommands": [*_BUS]},
    "acct_key": {"subcommands": [*_BUS]},
    "log_format": {"metavar": "FORMAT", "subcommands": [*_ALL]},
    "json": {"action": "store_true", "subcommands": [*_ALL]},
    "asyncapi": {"action": "store_true", "subcommands": ["schema"]},
    "html": {"action": "store_true", "subcommands": ["schema"]},
    "title": {"subcommands": ["schema"]},
    "api_version": {"subcommands": ["schema"]},
    "timeout": {"subcommands": ["demo", "pipe", "check", "outbox", "dead"]},
    "app": {
        "action": "extend",
        "nargs": "+",
        "metavar": "PACKAGE",
        "subcommands": [*_APP, "call-handler", "dead", *_PAUSE],
    },
    "only": {"action": "extend", "nargs": "+", "metavar": "PATTERN", "subcommands": [*_APP]},
    "skip": {"action": "extend", "nargs": "+", "metavar": "PATTERN", "subcommands": [*_APP]},
    "services_file": {"metavar": "FILE", "subcommands": [*_APP, "rpc"]},
    "service_name": {"metavar": "NAME", "subcommands": ["run", "check", "handlers", *_PAUSE]},
    "paused_names": {
        "positional": True,
        "nargs": "*",
        "metavar": "NAME",
        "subcommands": [*_PAUSE],
        "display_priority": 0,
    },
    "method": {"positional": True, "metavar": "SERVICE.METHOD", "subcommands": ["rpc"], "display_priority": 0},
    "arguments": {
        "positional": True,
        "nargs": "*",
        "metavar": "NAME=VALUE",
        "subcommands": ["rpc"],
        "display_priority": 1,
    },
    "rpc_timeout": {"metavar": "SECONDS", "options": ["--timeout"], "subcommands": ["rpc"]},
    "rpc_profile": {"metavar": "NAME", "options": ["--profile"], "subcommands": ["rpc"]},
    "stop_timeout": {"metavar": "SECONDS", "subcommands": ["run"]},
    "watch_credentials": {"action": "store_true", "subcommands": ["run"]},
    "reload": {"action": "store_true", "subcommands": ["run"]},
    "http": {"metavar": "[HOST:]PORT", "subcommands": ["run", "status", "top"]},
    "watch": {"action": "store_true", "subcommands": ["status"]},
    "http_open": {"action": "store_true", "subcommands": ["run"]},
    "processes": {"metavar": "N", "subcommands": ["run"]},
    "worker_timeout": {"metavar": "SECONDS", "subcommands": ["run"]},
    "broadcast_identifier": {"metavar": "NAME", "subcommands": ["run", "check"]},
    "handler_name": {
        "positional": True,
        "metavar": "SERVICE.NAME",
        "subcommands": ["call-handler"],
        "display_priority": 0,
    },
    "body_file": {
        "positional": True,
        "nargs": "?",
        "metavar": "FILE",
        "subcommands": ["call-handler"],
        "display_priority": 1,
    },
    "body": {"metavar": "JSON", "subcommands": ["call-handler"]},
    "file": {"metavar": "FILE", "subcommands": ["call-handler"]},
    "header": {"action": "extend", "nargs": 1, "metavar": "NAME=VALUE", "subcommands": ["call-handler"]},
    "source_profile": {
        "positional": True,
        "nargs": "?",
        "metavar": "PROFILE",
        "subcommands": ["tail"],
        "display_priority": 0,
    },
    "follow_dead": {"action": "store_true", "subcommands": ["tail"]},
    "key_pattern": {
        "positional": True,
        "nargs": "?",
        "metavar": "KEY",
        "subcommands": ["tail"],
        "display_priority": 1,
    },
    "service": {"subcommands": ["tail"]},
    "count": {"metavar": "N", "subcommands": ["tail"]},
    "since": {"subcommands": ["tail"]},
    "serial_plugin": {"subcommands": ["demo", "pipe"]},
    "match_plugin": {"subcommands": ["pipe", "explain"]},
    "repeat": {"subcommands": ["demo"]},
    "from_line": {"metavar": "N", "subcommands": ["pipe"]},
    "default_profile": {"subcommands": ["pipe"], "options": ["--profile"]},
    "events": {"positional": True, "nargs": "*", "subcommands": ["pipe"], "display_priority": 0},
    "event_profile": {"positional": True, "subcommands": ["explain"], "display_priority": 0},
    "shell": {
        "positional": True,
        "choices": ["bash", "zsh", "fish"],
        "subcommands": ["completion"],
        "display_priority": 0,
    },
    "outbox_action": {
        "positional": True,
        "nargs": "?",
        "metavar": "ACTION",
        "subcommands": ["outbox"],
        "display_priority": 0,
    },
    "names": {
        "positional": True,
        "nargs": "*",
        "metavar": "NAME",
        "subcommands": ["outbox"],
        "display_priority": 1,
    },
    "db_action": {
        "positional": True,
        "nargs": "?",
        "metavar": "ACTION",
        "subcommands": ["db"],
        "display_priority": 0,
    },
    "db_profiles": {
        "positional": True,
        "nargs": "*",
        "metavar": "PROFILE",
        "subcommands": ["db"],
        "display_priority": 1,
    },
    "db_schema": {"metavar": "NAME", "options": ["--schema"], "subcommands": ["db"]},
    "db_parts": {"metavar": "N", "options": ["--parts"], "subcommands": ["db"]},
    "db_after": {"metavar": "VERSION", "options": ["--after"], "subcommands": ["db"]},
    "db_notify": {"action": "store_true", "options": ["--notify"], "subcommands": ["db"]},
    "dead_action": {
        "positional": True,
        "nargs": "?",
        "metavar": "ACTION",
        "subcommands": ["dead"],
        "display_priority": 0,
    },
    "numbers": {
        "positional": True,
        "nargs": "*",
        "metavar": "NUMBER",
        "subcommands": ["dead"],
        "display_priority": 1,
    },
    "rate": {"metavar": "R", "subcommands": ["plan", "dead"]},
    "bytes": {"metavar": "B", "subcommands": ["plan"]},
    "destinations": {"metavar": "F", "subcommands": ["plan"]},
    "handlers": {"metavar": "H", "subcommands": ["plan"]},
    "calls": {"metavar": "C", "subcommands": ["plan"]},
    "durable": {"action": "store_true", "subcommands": ["plan"]},
    "handler_ms": {"metavar": "MS", "subcommands": ["plan"]},
    "cores": {"metavar": "N", "subcommands": ["plan"]},
    "speed": {"metavar": "S", "subcommands": ["plan"]},
    "outbox_path": {"subcommands": ["outbox", "dead"], "options": ["--outbox"], "metavar": "PATH"},
    "destination": {"subcommands": ["dead"]},
    "profile": {"subcommands": ["dead"]},
    "routing_key": {"subcommands": ["dead", "call-handler"]},
    "reason": {"metavar": "TEXT", "subcommands": ["dead", "pause"]},
    "older_than": {"subcommands": ["dead"]},
    "limit": {"subcommands": ["dead"]},
    "dead_place": {"options": ["--at"], "metavar": "PLACE", "subcommands": ["dead"]},
    "dead_handler": {"options": ["--handler"], "metavar": "SERVICE.NAME", "subcommands": ["dead"]},
    "to": {"metavar": "NAME", "subcommands": ["dead"]},
    "each": {"action": "store_true", "subcommands": ["dead"]},
    "all": {"action": "store_true", "subcommands": ["dead", "resume"]},
    "raw": {"action": "store_true", "subcommands": ["dead"]},
    "send": {"action": "store_true", "subcommands": ["dead"]},
    "workers": {"action": "store_true", "subcommands": ["handlers"]},
    "yes": {"action": "store_true", "subcommands": ["dead", "outbox"]},
}
SUBCOMMANDS = {
    "demo": {
        "help": "send 329 real GitHub webhooks through the bus and show what arrived",
        "desc": "Send 329 real GitHub webhooks through the bus, to memory or to the profiles of a credentials file.",
    },
    "pipe": {
        "help": "send newline-delimited JSON events from files or standard input",
        "desc": 'Send events, one JSON object a line: {"routing_key": ..., "body": ...}, optionally "profile" and'
        ' "headers". Bad lines are named and skipped. When an event cannot be stored or the pipe is interrupted, it'
        " stops reading and says with which --from-line to go on. Exit code: 0 if every line was delivered, 1 if not,"
        " 2 if nothing could be started, 128 + the number of a signal that came before the end.",
    },
    "check": {
        "help": "find what is wrong with settings, profiles, handlers and services, without sending",
        "desc": "Check the settings, the credentials file, the services file, every profile, and the handlers and"
        " services of the applications; then open, ping and close the destination of each profile, and look at what the"
        " source of each handler has. Sends, receives and makes nothing. Exit code: 0 if nothing is wrong, 1 if"
        " something is, 2 if a setting or the credentials file is wrong.",
    },
    "explain": {
        "help": "show which profiles an event of a given profile reaches, and why",
        "desc": "Show which profiles an event of the given profile reaches, and why. Connects to nothing.",
    },
    "events": {
        "help": "list the events that applications declare in their event folders",
        "desc": "List the events that applications declare in their event folders, with their services, names and"
        " profiles. Exit code: 0, or 2 if a declaration is wrong; the message names each.",
    },
    "schema": {
        "help": "print the declared events as a JSON Schema, or the application as AsyncAPI or a page",
        "desc": "Print the declared events as one JSON Schema document; with --asyncapi what the applications send,"
        " receive and serve as an AsyncAPI 3.0 document; with --html one page of that. Exit code: 0, or 2 if a"
        " declaration, a handler or a service is wrong; the message names each.",
    },
    "plugins": {
        "help": "list destinations, sources, serializers and matchers, with their options and files",
        "desc": "List the plugins that can be used, those of installed packages among them: destinations, sources,"
        " serializers and matchers, with their options and the files that they come from. Connects to nothing. Exit"
        " code: 0, or 1 if a plugin cannot be loaded.",
    },
    "run": {
        "help": "run an application's bus with its handlers and services, until it is stopped",
        "desc": """Run the bus, the handlers and the services of the applications in the current folder, on PYTHONPATH
and installed: functions that evbus_like.handlers.handler marks, and functions of service plugins, in
folders that the conf.py of a package names, DYNE = {"handler": ["handler"], "service": ["service"]}.

  evbus run --acct-file credentials.yml
  evbus run --acct-file credentials.yml --only shipping --skip shipping.audit
  evbus run --acct-file credentials.yml --processes 4

The worker starts even if a source is down, and connects when it is up. SIGTERM and Ctrl-C stop it: running
handlers and calls finish, the events they put are delivered, and the account is printed, all within
--stop-timeout seconds. A second signal, a second later or more, ends it at once. SIGHUP reads the
credentials file again, for destinations, handlers, services and calls; if that is wrong, all stay as they
are. --watch-credentials does so when the file changes.

With --processes, a supervisor keeps N workers running: one that dies is restarted, and its events come
again. SIGTERM and SIGHUP reach all of them, and SIGUSR1 replaces them one at a time.

Exit code: 0 stopped by a signal and nothing is lost, 1 a handler with on_error SHUTDOWN failed or
something was not delivered, 2 nothing could be started.""",
    },
    "status": {
        "help": "what running processes do: destinations, handlers, outbox, and why one is not ready",
        "desc": """Show what the `evbus run` processes of this user on this machine do: whether they are ready and why
not, and the state and the counts of every destination, handler and service. With --http, what an HTTP
port shows.

  evbus status
  evbus status --watch
  evbus status --http 9464 --json

Exit code: 0 everything is ready, 1 something is not, 2 nothing runs or answers.""",
    },
    "top": {
        "help": "running processes live on a terminal: rates, what waits, what is wrong",
        "desc": """Show live what the `evbus run` processes of this user on this machine do, or what an HTTP port shows:
rates, what waits and for how long, and what is wrong. Keys: q quits; n, r, w, o, d sort by name, rate,
waiting, oldest, dead letters.

  evbus top
  evbus top --http 9464

Exit code: 0, or 2 if nothing runs or answers at the beginning, or there is no terminal.""",
    },
    "pause": {
        "help": "stop handlers or destinations of an application until `evbus resume`, or list what is stopped",
        "desc": """Stop handlers, or the sending to destinations, in all processes of this application on this machine,
also after a restart, until `evbus resume`. Events wait: at the source, or in the lane and the outbox of
a destination. Without names, list what is paused.

  evbus pause shipping.ship --reason "the printer is out of paper"
  evbus pause 'billing.*' amqp:orders
  evbus pause
  evbus resume shipping.ship

The application is that of the current folder, of --app, or of service_name, as for `evbus run`.
Exit code: 0 done, 1 there is no such handler or destination, and nothing is paused, 2 it could not be written.""",
    },
    "resume": {
        "help": "let what `evbus pause` has stopped go on",
        "desc": """Let handlers and destinations go on that `evbus pause` has stopped, by the names that were given
there, or --all of them.

  evbus resume shipping.ship
  evbus resume --all

Exit code: 0 done, 1 it is not paused, 2 it could not be written.""",
    },
    "handlers": {
        "help": "list the handlers that evbus run would start",
        "desc": "List the handlers of the applications in the current folder, on PYTHONPATH and installed: what they"
        " listen to, how, and from which profile. Connects to nothing, unless --workers asks the workers that run."
        " Exit code: 0, or 2 if one is invalid.",
    },
    "services": {
        "help": "list the methods that evbus run would serve",
        "desc": "List the services of the applications in the current folder, on PYTHONPATH and installed, with their"
        " methods, arguments and profiles. Connects to nothing. Exit code: 0, or 2 if one is invalid.",
    },
    "rpc": {
        "help": "call a method of a service, over a broker, and show its result",
        "desc": """Call a method of a service that runs elsewhere, over a broker, and show its result.

  evbus rpc world.hello param=1 --acct-file credentials.yml
  evbus rpc orders.place customer=ann 'items=[{"id": 7}]' --timeout 5 --json

A value is JSON if it parses, otherwise text; '"7"' is the text 7.

Exit code: 0 the call returned, 1 it failed (the method raised, no process serves it, no answer in
time), 2 it could not be made, 128 + the number of a signal that came before the answer.""",
    },
    "call-handler": {
        "help": "call one handler with one event, without a broker, and show what it does",
        "desc": """Call one handler with one event, and show the result and the events that it put. Nothing is received
and nothing is sent: events that it puts stay in memory. Everything else that it does is real.

  evbus call-handler shipping.ship --body '{"id": 7}'
  evbus call-handler shipping.ship order.json --header correlation-id=42

Exit code: 0 the event was handled, 1 the handler failed, 2 it could not be called.""",
    },
    "tail": {
        "help": "show the events of a service as they arrive, without taking them from other consumers",
        "desc": """Show the events of a service as they arrive, through a temporary queue of its own. Other consumers
still get every event.

  evbus tail amqp:orders --acct-file credentials.yml --service orders
  evbus tail orders 'order.#' --json --count 10
  evbus tail --follow-dead --acct-file credentials.yml    # dead letters, wherever evbus dead ls finds them

Exit code: 0 stopped by a signal, or --count events arrived; 128 + the number of a signal that came
before them; 2 it could not start. If the source is down, it waits.""",
    },
    "plan": {
        "help": "how many processes, queues, partitions and broker nodes a flow of events needs",
        "desc": """Work out what a flow of events needs on RabbitMQ and on Kafka: processes, machines, queues or
partitions, connections and broker nodes, and which limit is reached first. Connects to nothing.

  evbus plan --rate 10000 --bytes 1000 --destinations 2 --handlers 3
  evbus plan --rate 1000000 --bytes 200 --handlers 2 --handler-ms 0.5 --cores 16 --json

Exit code: 0, 1 if neither broker takes events of that size, 2 if the command line is wrong.""",
    },
    "completion": {
        "help": "print the script with which a shell completes this command",
        "desc": """Print the script with which bash, zsh or fish completes the subcommands and options of this command.

  evbus completion bash > ~/.local/share/bash-completion/completions/evbus
  evbus completion zsh > /usr/local/share/zsh/site-functions/_evbus
  evbus completion fish > ~/.config/fish/completions/evbus.fish

Exit code: 0, or 2 if the shell is not one of these.""",
    },
    "outbox": {
        "help": "the events in the outbox: list, send, set aside or delete them",
        "desc": """List the events in the outbox, send them now, set them aside, or delete them.

  evbus outbox ls       show the path of the outbox, the process that has it open, and the events
                        for each destination. Changes nothing; works beside a running bus. With
                        --acct-file it also shows which destinations no longer have a profile.
  evbus outbox flush    start a bus with the profiles of --acct-file, send the events, and exit.
                        Stop the bus that has the outbox open first. Stops when nothing was sent
                        for --timeout seconds; the remaining events stay in the outbox.
  evbus outbox set-aside amqp:old
                        make dead letters of all that waits for this destination, to look at
                        (evbus dead) and to replay later, there or elsewhere
  evbus outbox discard amqp:old
                        delete all that waits for it permanently. Asks first
  evbus outbox scheduled
                        show the next 100 events that were put with delay or at and are not due yet
  evbus outbox cancel ID
                        delete such an event; a running bus does it for the command

set-aside and discard work beside a running bus that does not send to the destination.

Exit code: 0 done (flush: everything was delivered), 1 events remain or were not delivered, nothing waits for a
destination that is named, or an id is not that of an event to be sent later, 2 it could not be done, for example
because the file is damaged or open in a bus.""",
    },
    "db": {
        "help": "the outbox in the application's PostgreSQL: its SQL, what is missing, the account",
        "desc": """Print the SQL of the tables in the application's PostgreSQL, check them, or show the account.

  evbus db schema > migrations/0042.sql
                        print the SQL that makes the tables; it is run by you, or by your migrations.
                        --after 1 prints what leads from version 1 to the version of this release
  evbus db check --acct-file credentials.yml
                        say what is missing or wrong in the database of each profile, and the remedy
  evbus db status --acct-file credentials.yml
                        show stored = delivered + dead-lettered + waiting, and who relays

Nothing changes a database. Exit code: 0 nothing is wrong, 1 something is missing, or events wait in
parts that no process relays, 2 it could not be looked at.""",
    },
    "dead": {
        "help": "dead letters: list them, show one, send them again, delete them",
        "desc": """List dead letters, the events that were given up; show one, send them again, or delete them.

They are in the outbox, for destinations, and at the brokers, in a queue for each handler and service of
the applications in the current folder, on PYTHONPATH and installed. For those name the credentials file.

  evbus dead ls                 group them by handler or destination, and reason; --each lists them
  evbus dead show 7             show everything about number 7 of the outbox, with its body; others
                                are named by the id of their event
  evbus dead replay 7 8         give 7 and 8 back, with the same ids. A running bus sends those of its
                                outbox at once; where none runs, its next start does, or --send. A
                                handler gets its event as it was, and no other handler does
  evbus dead purge 7 8          delete 7 and 8 permanently. Asks first

replay and purge take names, or --all with filters. ls has the same filters, to look first:

  evbus dead ls --handler 'shipping.*' --reason 'no stock'
  evbus dead replay --all --handler 'shipping.*' --reason 'no stock' --rate 50

All work beside a running bus and running handlers.

Exit code: 0 done, 1 something was not found, remains, or could not be looked at: it says what,
2 it could not be done, for example because the file is damaged, 128 + the number of
a signal that stopped it: run it again.""",
    },
}
DYNE = {
    "evbus": ["evbus"],
    "ingress": ["ingress"],
    "egress": ["egress"],
    "handler": ["handler"],
    "service": ["service"],
    "middleware": ["middleware"],
    "lifespan": ["lifespan"],
    "serialize": ["serialize"],
    "match": ["match"],
    "log": ["log"],
    "event": ["event"],
}
