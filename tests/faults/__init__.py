"""The fault suite: every line of table.py is made to happen to real brokers, and the account must still be right."""
