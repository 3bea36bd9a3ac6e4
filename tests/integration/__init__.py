"""The bus with real brokers, other packages and other processes."""
