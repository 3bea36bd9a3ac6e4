"""The Kubernetes manifests: they follow its schemas, fit together, and `evbus run` does what they rely on."""

import kubernetes_validate
import pytest
import yaml

from tests.deploy.programs import DEPLOY
from tests.deploy.running import answer, bus, status
from tests.deploy.test_docker import instruction, variables

FILES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
RESOURCES = [(file, each) for file in FILES for each in yaml.safe_load_all(file.read_text())]
SET = next(each for _, each in RESOURCES if each["kind"] == "StatefulSet")
POD = SET["spec"]["template"]["spec"]
(BUS,) = POD["containers"]
TOKEN = "a-token-of-this-test"


def named(file_and_resource):
    _, resource = file_and_resource
    return f"{resource['kind']}/{resource['metadata']['name']}"


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("resource", RESOURCES, ids=named)
def test_each_resource_is_one_by_the_schema_of_kubernetes(resource, version):
    kubernetes_validate.validate(resource[1], version, strict=True)


def test_kubernetes_waits_longer_for_a_stop_than_the_hook_and_the_bus_do():
    hook = float(BUS["lifecycle"]["preStop"]["exec"]["command"][1])
    (stop,) = [float(each["value"]) for each in BUS["env"] if each["name"] == "EVBUS_STOP_TIMEOUT"]

    assert POD["terminationGracePeriodSeconds"] >= hook + stop + 10


def test_every_secret_that_the_pod_uses_is_there_with_its_keys():
    secrets = {each["metadata"]["name"]: each["stringData"] for _, each in RESOURCES if each["kind"] == "Secret"}
    keys = [each["valueFrom"]["secretKeyRef"] for each in BUS["env"] if "secretKeyRef" in each.get("valueFrom", {})]
    mounted = [each["secret"]["secretName"] for each in POD["volumes"] if "secret" in each]

    assert [(key["name"], key["key"] in secrets[key["name"]]) for key in keys] == [("shop-http", True)]
    assert mounted == ["shop-credentials"]
    assert f"/etc/evbus/{next(iter(secrets['shop-credentials']))}" == BUS["args"][2]


def test_every_volume_that_is_mounted_is_there_and_one_of_them_holds_the_outbox():
    there = {each["name"] for each in POD["volumes"]} | {
        each["metadata"]["name"] for each in SET["spec"]["volumeClaimTemplates"]
    }
    mounted = {each["name"]: each for each in BUS["volumeMounts"]}

    assert mounted.keys() == there
    assert mounted["outbox"]["mountPath"] == instruction("VOLUME")
    assert not any("subPath" in each for each in mounted.values())  # it would keep an old secret


def test_the_pod_runs_as_the_user_of_the_image_who_may_read_the_secret():
    assert str(POD["securityContext"]["runAsUser"]) == instruction("USER")
    assert POD["securityContext"]["fsGroup"] == POD["securityContext"]["runAsGroup"]
    (mode,) = [each["secret"]["defaultMode"] for each in POD["volumes"] if "secret" in each]
    assert mode == 0o440


async def test_the_bus_answers_the_probes_of_the_pod(folder):
    arguments = [each.replace("/etc/evbus", str(folder)) for each in BUS["args"]]
    (credentials,) = [each["stringData"] for _, each in RESOURCES if each["metadata"]["name"] == "shop-credentials"]
    own = {each["name"]: each.get("value", TOKEN) for each in BUS["env"]}
    host, port = own["EVBUS_HTTP"].rsplit(":", 1)
    own |= {"EVBUS_HTTP": f"{host}:0", "EVBUS_OUTBOX": str(folder / "outbox" / "outbox.sqlite")}
    (named_port,) = [each["containerPort"] for each in BUS["ports"] if each["name"] == "http"]
    probes = [BUS[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]

    async with bus(folder, arguments, variables() | own) as (process, url):
        at = f"http://127.0.0.1:{url.rpartition(':')[2]}"
        assert [await answer(at + probe["path"]) for probe in probes] == [200, 200, 200]
        assert await answer(f"{at}/metrics") == 401  # without the token
        assert f"process {process.pid}" in await status(own, url)
    assert {probe["port"] for probe in probes} == {"http"}
    assert (named_port, list(credentials)) == (int(port), ["credentials.yml"])
