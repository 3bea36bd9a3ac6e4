"""Real brokers for the tests: a RabbitMQ and a Kafka of our own, started on free ports and taken down at the end."""
