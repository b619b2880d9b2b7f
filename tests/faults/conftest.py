"""A cloud for faults that it must live through."""

import os
from collections.abc import Iterator

import pytest

from tests.clouds import RunningCloud, eventually

ROGUE = '''
"""A feature of somebody's own that does what a port's tags say."""
from controller.derive import derives, own_host
from controller.flow import BITS, IN_PORT, flow, match, meter, output, through
from controller.pipeline import OUTPUT


@derives("port", at=own_host)
def flaw(port, net, here):
    """Asks for what no switch takes, or fails."""
    if "impossible" in port.tags:
        yield flow(OUTPUT, 7, match(IN_PORT == here.vif(port.id)), output(0x10000))
    if "unmeasured" in port.tags:
        yield meter("br-int", 0xFFFF0001, BITS, 1, 1)
        yield flow(OUTPUT, 8, match(IN_PORT == here.vif(port.id)), through(0xFFFF0001), output(1))
    if "failing" in port.tags:
        raise RuntimeError("planted")
'''


@pytest.fixture(scope="package")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCloud]:
    """Two hosts with a guest on each; `alone` is a network that only h1 has ports of."""
    site = tmp_path_factory.mktemp("site")
    (site / "rogue.py").write_text(ROGUE)
    (site / "rogue-1.dist-info").mkdir()
    (site / "rogue-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: rogue\nVersion: 1\n")
    (site / "rogue-1.dist-info" / "entry_points.txt").write_text("[unryu.features]\nrogue = rogue\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{site}:{os.environ.get('PYTHONPATH', '')}")
        patch.setenv("UNRYU_CONTROLLER_LOOK_AGAIN", "2")
        with RunningCloud(hosts=2) as cloud:
            sdk = cloud.connect()
            for name, cidr in (("both", "10.0.0.0/24"), ("alone", "10.1.0.0/24")):
                network = sdk.network.create_network(name=name)
                sdk.network.create_subnet(network_id=network.id, ip_version=4, cidr=cidr)
            for number in (1, 2):
                port = sdk.network.create_port(network_id=sdk.network.find_network("both").id,
                                               fixed_ips=[{"ip_address": f"10.0.0.1{number}"}])
                cloud.plug(port.id, f"h{number}", f"vm{number}")
            yield cloud


@pytest.fixture
def cloud(broken: RunningCloud) -> Iterator[RunningCloud]:
    """As it should be before, and again afterwards, by itself."""
    assert broken.settled(), broken.switches()
    yield broken
    assert broken.settled(), broken.switches()
    assert eventually(lambda: broken.pings("vm1", "10.0.0.12"))
