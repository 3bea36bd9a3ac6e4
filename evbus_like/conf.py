"""What pop reads: settings, command-line options and the folders that are merged onto the hub. No imports here."""

CONFIG = {
    "config": {
        "default": None,
        "os": "EVBUS_CONFIG",
        "help": "A YAML file with these settings, under evbus_like:, and those of acct and pop_config",
    },
    "acct_file": {
        "os": "ACCT_FILE",
        "default": None,
        "sensitive": True,
        "help": "The credentials file: plain YAML, or encrypted by the acct command (environment: ACCT_FILE)",
    },
    "acct_key": {
        "os": "ACCT_KEY",
        "default": None,
        "sensitive": True,
        "help": "The key of an encrypted credentials file (better by the environment: ACCT_KEY)",
    },
    "serial_plugin": {
        "os": "EVBUS_SERIAL_PLUGIN",
        "default": "json",
        "help": "How bodies are serialized where a profile does not say: json, msgpack, yaml, str or a plugin's name",
    },
    "match_plugin": {
        "os": "EVBUS_MATCH_PLUGIN",
        "default": "glob",
        "help": "How an event's profile is matched against profile names: glob, regex or exact",
    },
    "error_callback_ref": {
        "os": "EVBUS_ERROR_CALLBACK_REF",
        "default": None,
        "help": "The function on the hub that hears of events that could not be delivered: my_app.errors.handle",
    },
    "max_queued": {
        "os": "EVBUS_MAX_QUEUED",
        "default": 100000,
        "type": int,
        "help": "How many events may wait in the bus's intake queue",
    },
    "outbox_path": {
        "os": "EVBUS_OUTBOX",
        "default": None,
        "help": "The outbox file, for profiles with outbox: always or when_full: spill, and for dead letters"
        " (default: evbus_like/outbox.sqlite in the XDG state folder, where a profile needs one)",
    },
    "outbox_max_bytes": {
        "os": "EVBUS_OUTBOX_MAX_BYTES",
        "default": 1024 * 1024 * 1024,
        "type": int,
        "help": "How many bytes of events and dead letters the outbox may hold",
    },
    "put_timeout": {
        "os": "EVBUS_PUT_TIMEOUT",
        "default": 30.0,
        "type": float,
        "help": "How many seconds a put waits for room before it raises",
    },
    "stop_timeout": {
        "os": "EVBUS_STOP_TIMEOUT",
        "default": 30.0,
        "type": float,
        "help": "How many seconds a stop may take to deliver what is queued",
    },
    "broadcast_identifier": {
        "os": "EVBUS_BROADCAST_IDENTIFIER",
        "default": None,
        "help": "What tells this instance from others for handlers with BROADCAST delivery, such as the host's name"
        " (default: drawn at each start)",
    },
    "rpc_timeout": {
        "os": "EVBUS_RPC_TIMEOUT",
        "default": 30.0,
        "type": float,
        "help": "How many seconds a call waits for its answer, where it does not say itself",
    },
    "services_file": {
        "os": "EVBUS_SERVICES_FILE",
        "default": None,
        "help": "A file that says which profile and exchange lead to which service, in YAML or INI (default: the"
        " profile default, for all)",
    },
    "service_name": {
        "os": "EVBUS_SERVICE_NAME",
        "default": None,
        "help": "What this application is called where it makes calls: a part of the names of its queues of answers"
        " (default: app)",
    },
    "timeout": {
        "default": 30.0,
        "type": float,
        "help": "How many seconds to wait at the end for what is not delivered yet (outbox flush, dead replay --send:"
        " how many without anything being sent)",
    },
    "json": {
        "default": False,
        "help": "Print one JSON document instead of a table",
    },
    "repeat": {
        "default": 1,
        "type": int,
        "help": "How many times to send the 329 webhooks",
    },
    "events": {
        "default": [],
        "help": "Files of newline-delimited JSON events; - or none means standard input",
    },
    "event_profile": {
        "default": None,
        "help": "The event profile to explain, as in put(profile=...)",
    },
    "default_profile": {
        "default": "default",
        "help": "The profile of events that name none",
    },
    "asyncapi": {
        "default": False,
        "help": "schema: an AsyncAPI 3.0 document instead of a JSON Schema",
    },
    "title": {
        "default": "Declared events",
        "help": "schema --asyncapi: the title in the document",
    },
    "api_version": {
        "default": "1.0.0",
        "help": "schema --asyncapi: the version of your application's interface, in the document",
    },
    "app": {
        "default": [],
        "help": "The application's package: only its handlers and services are used (default: those of every package in"
        " the current folder, on PYTHONPATH or installed)",
    },
    "only": {
        "default": [],
        "help": "Only these handlers and methods: patterns of service.name, or of services: shipping.ship 'audit*'",
    },
    "skip": {
        "default": [],
        "help": "All handlers and methods but these: patterns as for --only",
    },
    "source_profile": {
        "default": None,
        "help": "The profile to read from: orders, or amqp:orders where several providers have it",
    },
    "key_pattern": {
        "default": "#",
        "help": "Which event types: * stands for one word between dots, # for any number of them (default: #, all)",
    },
    "service": {
        "default": None,
        "help": "The service whose events are shown (default: from the exchange or the topic that the profile names)",
    },
    "count": {
        "default": None,
        "type": int,
        "help": "End after so many events",
    },
    "since": {
        "default": None,
        "help": "Begin with older events, where the source keeps them (Kafka): earliest, a time such as"
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
        "help": "The method's arguments: a value that is JSON is that, any other is text: id=7 name=ann tags='[1, 2]'",
    },
    "rpc_profile": {
        "default": None,
        "help": "The profile that carries the call: orders, or amqp:orders where several providers have it (default:"
        " as the services file says, else default)",
    },
    "body_file": {
        "default": None,
        "help": "A file with the event's body, JSON; - means standard input",
    },
    "body": {
        "default": None,
        "help": "The event's body, JSON",
    },
    "file": {
        "default": None,
        "help": "A file with the event's body, JSON; - means standard input. It may also stand behind SERVICE.NAME",
    },
    "header": {
        "default": [],
        "help": "A header of the event, NAME=VALUE; may be given several times",
    },
    "outbox_action": {
        "default": None,
        "help": "ls or flush",
    },
    "dead_action": {
        "default": None,
        "help": "ls, show, replay or purge",
    },
    "numbers": {
        "default": [],
        "help": "Numbers of dead letters, as ls shows them",
    },
    "all": {
        "default": False,
        "help": "replay, purge: every dead letter that the filters let through, all of them without a filter",
    },
    "destination": {
        "default": None,
        "help": "Filter: the destination, as ls shows it: amqp:orders",
    },
    "profile": {
        "default": None,
        "help": "Filter: the event's profile, as in put(profile=...)",
    },
    "routing_key": {
        "default": None,
        "help": "dead: filter by the routing key, a glob pattern: 'orders.*' (* also stands for dots; quote it)."
        " call-handler: the event's type (default: the first that the handler is marked with)",
    },
    "reason": {
        "default": None,
        "help": "Filter: a part of the reason, in upper or lower case",
    },
    "older_than": {
        "default": None,
        "help": "Filter: given up longer ago than this: 90s, 15m, 2h, 3d or 1w",
    },
    "limit": {
        "default": None,
        "type": int,
        "help": "At most so many, the oldest first (ls shows 100 without it; replay and purge take all)",
    },
    "raw": {
        "default": False,
        "help": "show: write the body's bytes to standard output, untouched, and nothing else",
    },
    "send": {
        "default": False,
        "help": "replay: send at once what waits, as `evbus outbox flush` does; needs the credentials file",
    },
    "yes": {
        "default": False,
        "help": "purge: do not ask; needed where there is no terminal",
    },
}
# Which subcommands read credentials, and all of them.
_BUS = ["demo", "pipe", "check", "explain", "run", "handlers", "rpc", "call-handler", "tail", "outbox", "dead"]
_ALL = [*_BUS, "services", "events", "schema"]
_APP = ["run", "handlers", "services"]
CLI_CONFIG = {
    "config": {"subcommands": [*_ALL]},
    "acct_file": {"subcommands": [*_BUS]},
    "acct_key": {"subcommands": [*_BUS]},
    "json": {"action": "store_true", "subcommands": [*_ALL]},
    "asyncapi": {"action": "store_true", "subcommands": ["schema"]},
    "title": {"subcommands": ["schema"]},
    "api_version": {"subcommands": ["schema"]},
    "timeout": {"subcommands": ["demo", "pipe", "check", "outbox", "dead"]},
    "app": {"action": "extend", "nargs": "+", "metavar": "PACKAGE", "subcommands": [*_APP, "call-handler"]},
    "only": {"action": "extend", "nargs": "+", "metavar": "PATTERN", "subcommands": [*_APP]},
    "skip": {"action": "extend", "nargs": "+", "metavar": "PATTERN", "subcommands": [*_APP]},
    "services_file": {"metavar": "FILE", "subcommands": [*_APP, "rpc"]},
    "service_name": {"metavar": "NAME", "subcommands": ["run", "handlers"]},
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
    "broadcast_identifier": {"metavar": "NAME", "subcommands": ["run"]},
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
    "source_profile": {"positional": True, "metavar": "PROFILE", "subcommands": ["tail"], "display_priority": 0},
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
    "default_profile": {"subcommands": ["pipe"], "options": ["--profile"]},
    "events": {"positional": True, "nargs": "*", "subcommands": ["pipe"], "display_priority": 0},
    "event_profile": {"positional": True, "subcommands": ["explain"], "display_priority": 0},
    "outbox_action": {
        "positional": True,
        "nargs": "?",
        "metavar": "ACTION",
        "subcommands": ["outbox"],
        "display_priority": 0,
    },
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
    "outbox_path": {"subcommands": ["outbox", "dead"], "options": ["--outbox"], "metavar": "PATH"},
    "destination": {"subcommands": ["dead"]},
    "profile": {"subcommands": ["dead"]},
    "routing_key": {"subcommands": ["dead", "call-handler"]},
    "reason": {"subcommands": ["dead"]},
    "older_than": {"subcommands": ["dead"]},
    "limit": {"subcommands": ["dead"]},
    "all": {"action": "store_true", "subcommands": ["dead"]},
    "raw": {"action": "store_true", "subcommands": ["dead"]},
    "send": {"action": "store_true", "subcommands": ["dead"]},
    "yes": {"action": "store_true", "subcommands": ["dead"]},
}
SUBCOMMANDS = {
    "demo": {
        "help": "send 329 real GitHub webhooks through the bus and show what arrived",
        "desc": "Send 329 real GitHub webhooks through the bus, to memory or to the profiles of a credentials file.",
    },
    "pipe": {
        "help": "send newline-delimited JSON events from files or standard input",
        "desc": 'Send events, one JSON object a line: {"routing_key": ..., "body": ...}, optionally "profile" and'
        ' "headers". A bad line is named and the rest goes on. Exit code: 0 if every line was delivered, 1 if not,'
        " 2 if nothing could be started.",
    },
    "check": {
        "help": "connect to the destination of every profile and say what is wrong",
        "desc": "Open, ping and close the destination of every profile. Exit code: 0 if all are well, 1 if not.",
    },
    "explain": {
        "help": "show which profiles an event of a given profile reaches, and why",
        "desc": "Show which profiles an event of the given profile reaches, and why. Connects to nothing.",
    },
    "events": {
        "help": "list the events that applications declare in their event folders",
        "desc": "List the events that applications declare in their event folders, with their services, names and"
        " profiles. Exit code: 0, or 2 where a declaration is wrong; the message names each.",
    },
    "schema": {
        "help": "print the declared events as a JSON Schema, or an AsyncAPI document",
        "desc": "Print the declared events as one JSON Schema document, or with --asyncapi as an AsyncAPI 3.0"
        " document. Exit code: 0, or 2 where a declaration is wrong; the message names each.",
    },
    "run": {
        "help": "run an application's bus with its handlers and services, until it is stopped",
        "desc": """Run the bus, the handlers and the services of the applications in the current folder, on PYTHONPATH
and installed: functions that evbus_like.handlers.handler marks, and functions of service plugins, in
folders that the conf.py of a package names, DYNE = {"handler": ["handler"], "service": ["service"]}.

  evbus run --acct-file credentials.yml
  evbus run --acct-file credentials.yml --only shipping --skip shipping.audit

A source that is absent is waited for. SIGTERM and Ctrl-C stop: handlers and calls under way finish, what
they put is delivered, and the account is printed; that takes --stop-timeout seconds at most. A second
signal ends at once.

Exit code: 0 stopped by a signal and nothing is lost, 1 a handler failed whose on_error is SHUTDOWN,
or something could not be delivered, 2 nothing could be started.""",
    },
    "handlers": {
        "help": "list the handlers that evbus run would start",
        "desc": "List the handlers of the applications in the current folder, on PYTHONPATH and installed: what they"
        " listen to, how, and from which profile. Connects to nothing. Exit code: 0, or 2 where one cannot be used.",
    },
    "services": {
        "help": "list the methods that evbus run would serve",
        "desc": "List the services of the applications in the current folder, on PYTHONPATH and installed, with their"
        " methods, arguments and profiles. Connects to nothing. Exit code: 0, or 2 where one cannot be used.",
    },
    "rpc": {
        "help": "call a method of a service, over a broker, and show its result",
        "desc": """Call a method of a service that runs elsewhere, over a broker, and show its result.

  evbus rpc world.hello param=1 --acct-file credentials.yml
  evbus rpc orders.place customer=ann 'items=[{"id": 7}]' --timeout 5 --json

A value that is JSON is that, any other is text; '"7"' is the text 7.

Exit code: 0 it gave a result, 1 it gave an error (the method raised, nobody serves it, no answer in
time), 2 it could not be called, 128 + the signal's number where one came before the answer.""",
    },
    "call-handler": {
        "help": "call one handler with one event, without a broker, and show what it does",
        "desc": """Call one handler with one event, and show what came of it and what it put. Nothing is received
and nothing is sent: what the handler puts stays in memory. What else it does is real.

  evbus call-handler shipping.ship --body '{"id": 7}'
  evbus call-handler shipping.ship order.json --header correlation-id=42

Exit code: 0 it was handled, 1 it failed, 2 it could not be called.""",
    },
    "tail": {
        "help": "show the events of a service as they come, without taking them from anybody",
        "desc": """Show the events of a service as they come, through a queue of one's own that goes at the end.
Nobody gets one event less for it.

  evbus tail amqp:orders --acct-file credentials.yml --service orders
  evbus tail orders 'order.#' --json --count 10

Exit code: 0 stopped by a signal, or --count events came; 128 + the signal's number where it came
before them; 2 it could not begin. A source that is absent is waited for.""",
    },
    "outbox": {
        "help": "the events that wait on the disk: list them, or send them now",
        "desc": """Look at the events that wait on the disk, or send them now.

  evbus outbox ls       where the outbox is, which process has it open, and what waits for
                        each destination. Changes nothing; works beside a running bus. With
                        --acct-file it also says which destinations have no profile any more.
  evbus outbox flush    start a bus with the profiles of --acct-file, send what waits, and end.
                        The bus that has the outbox open must be stopped first. Gives up when
                        nothing was sent for --timeout seconds; what is left stays on the disk.

Exit code: 0 done (flush: all was delivered), 1 something is left or was not delivered,
2 it could not be done, such as a damaged file or one that a bus has open.""",
    },
    "dead": {
        "help": "the events that were given up: list them, look at one, send them again, delete them",
        "desc": """Look at the events that were given up (dead letters), send them again, or delete them.

  evbus dead ls                 list them. Works beside a running bus
  evbus dead show 7             everything about number 7, with its body. Works beside a running bus
  evbus dead replay 7 8         let 7 and 8 wait again, with the same ids: the next start of the bus
                                sends them. With --send they are sent at once
  evbus dead purge 7 8          delete 7 and 8 for good. Asks first

replay and purge take numbers, or --all with filters. ls takes the same filters, so look first:

  evbus dead ls --destination amqp:orders --older-than 3d
  evbus dead replay --all --destination amqp:orders --older-than 3d

replay and purge need the outbox for themselves: stop the bus that has it open.

Exit code: 0 done, 1 something was not found or is left, 2 it could not be done, such as a
damaged file or one that a bus has open.""",
    },
}
DYNE = {
    "evbus": ["evbus"],
    "ingress": ["ingress"],
    "egress": ["egress"],
    "handler": ["handler"],
    "service": ["service"],
    "middleware": ["middleware"],
    "serialize": ["serialize"],
    "match": ["match"],
    "log": ["log"],
    "event": ["event"],
}
