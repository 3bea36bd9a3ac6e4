"""To RabbitMQ, kombu: persistent messages with confirm_publish, which waits for each confirm."""

from __future__ import annotations

from kombu import Connection, Producer
from measure import Clock, bodies, config

WARM_UP = 20


def main() -> None:
    """Run the leg."""
    asked = config()
    queue, count = asked["queues"][0], asked["events"]
    with Connection(asked["amqp_url"], transport_options={"confirm_publish": True}) as connection:
        producer = Producer(connection.channel(), serializer="json")
        for body in bodies(asked, WARM_UP):
            producer.publish(body, routing_key=queue, delivery_mode=2)
        clock = Clock()
        for body in bodies(asked, count):
            producer.publish(body, routing_key=queue, delivery_mode=2)
        clock.stop(count, sent=count + WARM_UP)


main()
