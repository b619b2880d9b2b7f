"""Port security in-process: what a port and its network say of it, and who may say so."""



from tests.inprocess import ADMIN, ALT, DEMO, Api, Json


def change(api: Api, port: Json, token: str = DEMO, **values: object) -> Json:
    answer = api("PUT", f"/ports/{port['id']}", {"port": values}, token)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.json["port"]


def test_a_port_is_as_its_network_says_unless_it_says_otherwise(api: Api, network: str) -> None:
    assert api("GET", f"/networks/{network}").json["network"]["port_security_enabled"] is True
    port = api.make("port", network_id=network)
    assert port["port_security_enabled"] is True and port["allowed_address_pairs"] == [] and len(port["security_groups"]) == 1
    free = api.make("port", network_id=network, port_security_enabled=False)
    assert free["port_security_enabled"] is False and free["security_groups"] == []
    trusting = api.make("network", port_security_enabled=False)
    assert trusting["port_security_enabled"] is False
    assert api.make("port", network_id=trusting["id"])["port_security_enabled"] is False
    assert api.make("port", network_id=trusting["id"], port_security_enabled=True)["security_groups"]
    # What its network says later is for later ports.
    assert api("PUT", f"/networks/{network}", {"network": {"port_security_enabled": False}}).status_code == 200
    assert api("GET", f"/ports/{port['id']}").json["port"]["port_security_enabled"] is True


def test_groups_and_pairs_need_port_security(api: Api, network: str) -> None:
    port = api.make("port", network_id=network)
    group, path = port["security_groups"], f"/ports/{port['id']}"
    create = {"network_id": network, "port_security_enabled": False}
    pair = [{"ip_address": "10.0.0.9"}]
    for status, code, method, where, body in (
        (400, "PortSecurityAndIPRequiredForSecurityGroups", "POST", "/ports", {**create, "security_groups": group}),
        (409, "AddressPairAndPortSecurityRequired", "POST", "/ports", {**create, "allowed_address_pairs": pair}),
        (409, "PortSecurityPortHasSecurityGroup", "PUT", path, {"port_security_enabled": False}),
        (409, "AddressPairAndPortSecurityRequired", "PUT", path,
         {"port_security_enabled": False, "security_groups": [], "allowed_address_pairs": pair}),
    ):
        words = "Cannot disable" if code == "PortSecurityPortHasSecurityGroup" else "must be"
        assert api.refused(status, words, method, where, {"port": body})["type"] == code
    off = change(api, port, port_security_enabled=False, security_groups=[])
    assert off["port_security_enabled"] is False
    fault = api.refused(400, "must be enabled", "PUT", path, {"port": {"security_groups": group}})
    assert fault["type"] == "PortSecurityAndIPRequiredForSecurityGroups"
    assert change(api, port, port_security_enabled=True, security_groups=group)["security_groups"] == group
    change(api, port, allowed_address_pairs=pair)
    fault = api.refused(409, "must be", "PUT", path, {"port": {"port_security_enabled": False, "security_groups": []}})
    assert fault["type"] == "AddressPairAndPortSecurityRequired"


def test_pairs_are_addresses_or_prefixes_with_a_mac(api: Api, network: str) -> None:
    port = api.make("port", network_id=network, mac_address="fa:16:3e:00:00:01", allowed_address_pairs=[
        {"ip_address": "10.0.0.9"}, {"ip_address": "10.1.2.3/16", "mac_address": "00-00-5E-00-01-07"},
        {"ip_address": "FD00::0:9"}, {"ip_address": "0.0.0.0/0"}])
    assert port["allowed_address_pairs"] == [
        {"ip_address": "10.0.0.9", "mac_address": "fa:16:3e:00:00:01"},
        {"ip_address": "10.1.0.0/16", "mac_address": "00:00:5e:00:01:07"},
        {"ip_address": "fd00::9", "mac_address": "fa:16:3e:00:00:01"},
        {"ip_address": "0.0.0.0/0", "mac_address": "fa:16:3e:00:00:01"}]
    path = f"/ports/{port['id']}"
    for words, pairs in (
        ("not an IP address", [{"ip_address": "here"}]), ("not an IP address", [{"ip_address": "10.0.0.9/33"}]),
        ("ip_address", [{"mac_address": "fa:16:3e:00:00:01"}]), ("MAC", [{"ip_address": "10.0.0.9", "mac_address": "x"}]),
        ("duplicate", [{"ip_address": "10.0.0.9"}, {"ip_address": "10.0.0.9", "mac_address": "fa:16:3e:00:00:01"}]),
        ("more than 10", [{"ip_address": f"10.0.0.{n}"} for n in range(11)]),
    ):
        api.refused(400, words, "PUT", path, {"port": {"allowed_address_pairs": pairs}})
    assert change(api, port, allowed_address_pairs=[])["allowed_address_pairs"] == []


def test_on_anothers_network_nobody_trusts_himself(api: Api, network: str) -> None:
    assert api("PUT", f"/networks/{network}", {"network": {"shared": True}}, ADMIN).status_code == 200
    port = api.make("port", token=ALT, network_id=network)
    words, path = "Only its owner", f"/ports/{port['id']}"
    for values in ({"port_security_enabled": False, "security_groups": []},
                   {"allowed_address_pairs": [{"ip_address": "10.0.0.9"}]}):
        api.refused(403, words, "PUT", path, {"port": values}, ALT)
        api.refused(403, words, "POST", "/ports", {"port": {"network_id": network, **values}}, ALT)
    change(api, port, ADMIN, allowed_address_pairs=[{"ip_address": "10.0.0.9"}])
    # What an administrator trusted him with stays while he changes other things.
    assert change(api, port, ALT, name="mine")["allowed_address_pairs"] == [
        {"ip_address": "10.0.0.9", "mac_address": port["mac_address"]}]


def test_on_anothers_network_nobody_says_who_he_is(api: Api, network: str) -> None:
    """Else he could be its gateway, which is no port of ours where the network is on a wire."""
    subnet = api.make("subnet", network_id=network, ip_version=4, cidr="10.0.0.0/24")["id"]
    assert api("PUT", f"/networks/{network}", {"network": {"shared": True}}, ADMIN).status_code == 200
    port = api.make("port", token=ALT, network_id=network, fixed_ips=[{"subnet_id": subnet}])
    for name, value in (("fixed_ips", [{"ip_address": "10.0.0.1"}]), ("mac_address", "fa:16:3e:00:00:01"),
                        ("device_owner", "network:dhcp")):
        body = {name: value, "port_security_enabled": True}
        api.refused(403, f"Only its owner may say {name}", "POST", "/ports", {"port": {"network_id": network, **body}}, ALT)
        api.refused(403, f"Only its owner may say {name}", "PUT", f"/ports/{port['id']}", {"port": body}, ALT)
    # As clients do, who write what they have read.
    same = {name: port[name] for name in ("fixed_ips", "mac_address")}
    assert change(api, port, ALT, **same, device_owner="compute:nova")["fixed_ips"] == port["fixed_ips"]
    own = {"fixed_ips": [{"ip_address": "10.0.0.1"}], "mac_address": "fa:16:3e:00:00:01", "device_owner": "network:dhcp"}
    assert api.make("port", network_id=network, **own)["mac_address"] == own["mac_address"]
