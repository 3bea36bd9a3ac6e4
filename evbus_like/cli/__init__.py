"""The `evbus` command: one module for each subcommand."""
