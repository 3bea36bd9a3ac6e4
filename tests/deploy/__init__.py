"""What ships in deploy/, checked by the programs that read it. No brokers."""
