"""A cloud on PostgreSQL: the same code, one setting."""

import pytest

from tests.clouds import BIN, RunningCloud
from tests.postgres import Postgres

pytestmark = pytest.mark.system


def test_the_main_job_on_postgresql() -> None:
    with Postgres() as server, server.database() as url, RunningCloud(hosts=2, database=url) as cloud:
        sdk = cloud.connect()
        network = sdk.network.create_network(name="blue")
        sdk.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.0.0.0/24")
        for number in (1, 2):
            port = sdk.network.create_port(network_id=network.id, fixed_ips=[{"ip_address": f"10.0.0.1{number}"}])
            cloud.plug(port.id, f"h{number}", f"vm{number}")
        assert cloud.pings("vm1", "10.0.0.12")
        assert not (cloud.state / "unryu.db").exists()
        again = cloud.run(str(BIN / "unryu"), "--state", str(cloud.state), "up", "--database", url, check=False)
        assert again.returncode == 1 and "has its database already" in again.stderr
