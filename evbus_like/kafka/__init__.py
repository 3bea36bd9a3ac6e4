"""Kafka through aiokafka; imported when a profile needs it."""
