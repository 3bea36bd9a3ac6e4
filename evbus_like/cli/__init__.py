"""The `evbus` command: plain modules, one a subcommand."""
