"""The status page of the HTTP port in a real Chromium, beside a bus under load. No brokers."""
