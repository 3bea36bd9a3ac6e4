"""RabbitMQ through aio-pika; imported when a profile needs it."""
