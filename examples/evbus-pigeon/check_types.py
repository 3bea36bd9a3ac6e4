from evbus_like import plugin
from evbus_pigeon.egress import spool as spool_source
from evbus_pigeon.ingress import pigeon, spool
from evbus_pigeon.match import prefix
from evbus_pigeon.serialize import csv_serialize

destinations: list[plugin.BatchIngressPlugin] = [pigeon, spool]
opens: plugin.Opens = pigeon
closes: plugin.Closes = pigeon
pings: plugin.Pings = pigeon
validates: plugin.Validates = pigeon
source: plugin.EgressPlugin = spool_source
serializer: plugin.SerializePlugin = csv_serialize
matcher: plugin.MatchPlugin = prefix
