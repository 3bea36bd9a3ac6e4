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
    "timeout": {
        "default": 30.0,
        "type": float,
        "help": "How many seconds to wait at the end for what is not delivered yet",
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
}
CLI_CONFIG = {
    "config": {"subcommands": ["demo", "pipe", "check", "explain"]},
    "acct_file": {"subcommands": ["demo", "pipe", "check", "explain"]},
    "acct_key": {"subcommands": ["demo", "pipe", "check", "explain"]},
    "json": {"action": "store_true", "subcommands": ["demo", "pipe", "check", "explain"]},
    "timeout": {"subcommands": ["demo", "pipe", "check"]},
    "serial_plugin": {"subcommands": ["demo", "pipe"]},
    "match_plugin": {"subcommands": ["pipe", "explain"]},
    "repeat": {"subcommands": ["demo"]},
    "default_profile": {"subcommands": ["pipe"], "options": ["--profile"]},
    "events": {"positional": True, "nargs": "*", "subcommands": ["pipe"], "display_priority": 0},
    "event_profile": {"positional": True, "subcommands": ["explain"], "display_priority": 0},
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
}
DYNE = {
    "evbus": ["evbus"],
    "ingress": ["ingress"],
    "serialize": ["serialize"],
    "match": ["match"],
    "log": ["log"],
}
