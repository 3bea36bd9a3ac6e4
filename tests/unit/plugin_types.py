"""The contracts as mypy sees them: every plugin of the package fits, and what does not fit is refused.

`make check` reads this file; nothing runs it. An ignored error that does not occur is an error, too.
"""

# mypy: warn-unused-ignores

from evbus_like import plugin
from evbus_like.egress import amqp as egress_amqp
from evbus_like.egress import internal as egress_internal
from evbus_like.egress import kafka as egress_kafka
from evbus_like.ingress import amqp, internal, kafka
from evbus_like.match import exact, glob, regex
from evbus_like.serialize import json_serialize, msgpack_serialize, str_serialize, yaml_serialize
from tests.conformance.plugins.shelf.ingress import shelf

publishes: plugin.IngressPlugin = shelf
batches: list[plugin.BatchIngressPlugin] = [amqp, internal, kafka]
now: plugin.PublishesNow = internal
options: list[plugin.HasOptions] = [amqp, internal, kafka, egress_amqp, egress_kafka, shelf]
opens: list[plugin.Opens] = [amqp, kafka]
closes: list[plugin.Closes] = [amqp, kafka, egress_amqp]
pings: list[plugin.Pings] = [amqp, kafka, shelf]
validates: list[plugin.Validates] = [amqp, kafka, egress_amqp, egress_kafka]
limits: plugin.HasLimits = kafka
sources: list[plugin.EgressPlugin] = [egress_amqp, egress_internal, egress_kafka]
retries: plugin.Retries = egress_amqp
sends: list[plugin.Sends] = [egress_amqp, egress_internal]
checks: list[plugin.Checks] = [egress_amqp, egress_internal, egress_kafka]
inspects: list[plugin.Inspects] = [egress_amqp, egress_kafka]
looks: list[plugin.LooksAtDeadLetters] = [egress_amqp, egress_kafka]
serializers: list[plugin.SerializePlugin] = [json_serialize, msgpack_serialize, str_serialize, yaml_serialize]
matchers: list[plugin.CompilingMatchPlugin] = [exact, glob, regex]

no_publish: plugin.IngressPlugin = amqp  # type: ignore[assignment]
no_source: plugin.EgressPlugin = amqp  # type: ignore[assignment]
no_retry: plugin.Retries = egress_kafka  # type: ignore[assignment]
no_send: plugin.Sends = egress_kafka  # type: ignore[assignment]
no_format: plugin.SerializePlugin = glob  # type: ignore[assignment]
