"""Named topologies: networks, routers and guests as a file says them, Mininet's way, built through the cloud's own API.

Those in `plans/` are the classic uses of a cloud's network; a file of one's own reads the same. What is built carries the plan's
tag, so building again makes whole what is missing, and clearing takes just that away.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pydantic
import yaml

from topology import lab
from topology.cloud import Cloud
from topology.credentials import clouds_file

PLANS = Path(__file__).with_name("plans")
OPEN = "lab"  # the security group of a plan's guests: who tries a network wants to be heard


class Part(pydantic.BaseModel, extra="forbid", frozen=True):
    project: str = "demo"


class Network(Part):
    subnets: list[str] = []
    gateway: str | None = None
    """Of the provider's own router, where there is one; otherwise the first address, of ours."""
    vlan: int | None = None
    physical_network: str | None = None
    shared: bool = False


class Router(Part):
    networks: list[str]
    gateway: str | None = None
    """The external network that is its way out."""


class Guest(Part):
    network: str
    host: str
    floating: bool = False


class Plan(pydantic.BaseModel, extra="forbid", frozen=True):
    about: str
    networks: dict[str, Network] = {}
    routers: dict[str, Router] = {}
    guests: dict[str, Guest] = {}


def named(word: str) -> tuple[str, Plan]:
    """The plan of this name, or in this file."""
    path = Path(word) if word.endswith((".yaml", ".yml")) else PLANS / f"{word}.yaml"
    try:
        return path.stem, Plan.model_validate(yaml.safe_load(path.read_text()))
    except FileNotFoundError:
        raise click.ClickException(f"There is no plan {word}; there are {', '.join(sorted(plans()))}, or files *.yaml.") from None
    except yaml.YAMLError as error:
        raise click.ClickException(f"{path} is no YAML: {error}") from None
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "its top"
        raise click.ClickException(f"{path} is wrong at {place}: {first['msg']}.") from None


def plans() -> dict[str, str]:
    """Name → what it shows."""
    return {path.stem: named(path.stem)[1].about for path in PLANS.glob("*.yaml")}


class Site:
    """A plan in a cloud, as the administrator sees it."""

    def __init__(self, cloud: Cloud, name: str, plan: Plan) -> None:
        import openstack

        self.cloud, self.plan, self.tag = cloud, plan, f"plan:{name}"
        config = openstack.config.OpenStackConfig(config_files=[str(clouds_file(cloud))])
        connection = openstack.connection.Connection(config=config.get_one("unryu-admin"))
        self.network = connection.network
        identity: Any = connection.identity
        self.projects = {project.name: project.id for project in identity.projects()}

    def build(self, say: Callable[[str], None]) -> dict[str, list[str]]:
        """Guest → its addresses, the floating one last."""
        plan = self.plan
        for name, network in plan.networks.items():
            say(f"Network {name}")
            self._network(name, network)
        for name, router in plan.routers.items():
            say(f"Router {name}")
            self._router(name, router)
        built = {}
        for name, guest in plan.guests.items():
            say(f"Guest {name} on {guest.host}")
            built[name] = self._guest(name, guest)
        return built

    def clear(self, say: Callable[[str], None]) -> None:
        plugged = {guest.port_id: guest for guest in lab.guests(self.cloud)}
        ports = list(self._mine("ports"))
        for address in self._mine("ips"):
            self.network.delete_ip(address)
        for port in ports:
            if port.id in plugged:
                say(f"Guest {plugged[port.id].name}")
                lab.unplug(self.cloud, plugged[port.id])
            self.network.delete_port(port)
        for router in self._mine("routers"):
            say(f"Router {router.name}")
            for port in self.network.ports(device_id=router.id, device_owner="network:router_interface"):
                self.network.remove_interface_from_router(router, port=port.id)
            self.network.delete_router(router)
        for network in self._mine("networks"):
            say(f"Network {network.name}")
            self.network.delete_network(network)
        for group in self._mine("security_groups"):
            self.network.delete_security_group(group)

    def _mine(self, plural: str) -> Iterator[Any]:
        return iter(list(getattr(self.network, plural)(tags=self.tag)))

    def _held(self, plural: str, make: Callable[..., Any], name: str, project: str, **words: Any) -> tuple[Any, bool]:
        """The one of this plan with that name, and whether it was made just now."""
        for one in self._mine(plural):
            if (one.name, one.project_id) == (name, self._project(project)):
                return one, False
        made = make(name=name, project_id=self._project(project), **words)
        self.network.set_tags(made, [self.tag])
        return made, True

    def _project(self, name: str) -> str:
        if name not in self.projects:
            raise click.ClickException(f"There is no project {name}; there are {', '.join(sorted(self.projects))}.")
        return str(self.projects[name])

    def _network(self, name: str, plan: Network) -> None:
        words: dict[str, Any] = {"is_shared": plan.shared}
        if plan.physical_network:
            words |= {"provider_physical_network": plan.physical_network,
                      "provider_network_type": "vlan" if plan.vlan else "flat", "provider_segmentation_id": plan.vlan}
        network, _ = self._held("networks", self.network.create_network, name, plan.project,
                                **{word: value for word, value in words.items() if value is not None})
        there = {subnet.cidr for subnet in self.network.subnets(network_id=network.id)}
        for cidr in plan.subnets:
            if cidr in there:
                continue
            six: dict[str, Any] = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"} if ":" in cidr else {}
            gateway = {"gateway_ip": plan.gateway} if plan.gateway else {}
            self.network.create_subnet(network_id=network.id, project_id=network.project_id, cidr=cidr,
                                       ip_version=6 if six else 4, **six, **gateway)

    def _router(self, name: str, plan: Router) -> None:
        router, _ = self._held("routers", self.network.create_router, name, plan.project)
        if plan.gateway and not router.external_gateway_info:
            self.network.update_router(router, external_gateway_info={"network_id": self._found(plan.gateway).id})
        joined = {fixed["subnet_id"] for port in self.network.ports(device_id=router.id) for fixed in port.fixed_ips}
        for network in plan.networks:
            for subnet in self.network.subnets(network_id=self._found(network).id):
                if subnet.id not in joined:
                    self.network.add_interface_to_router(router, subnet=subnet.id)

    def _guest(self, name: str, plan: Guest) -> list[str]:
        port, _ = self._held("ports", self.network.create_port, name, plan.project, network_id=self._found(plan.network).id,
                                security_groups=[self._group(plan.project)])
        if port.id not in {guest.port_id for guest in lab.guests(self.cloud)}:
            lab.plug(self.cloud, port.id, plan.host, name, patience=60)
        addresses = [fixed["ip_address"] for fixed in port.fixed_ips]
        if not plan.floating:
            return addresses
        for one in self.network.ips(port_id=port.id):
            return [*addresses, one.floating_ip_address]
        floating = self.network.create_ip(floating_network_id=self._way_out(plan.network), port_id=port.id,
                                          project_id=port.project_id)
        self.network.set_tags(floating, [self.tag])
        return [*addresses, floating.floating_ip_address]

    def _group(self, project: str) -> str:
        group, made = self._held("security_groups", self.network.create_security_group, OPEN, project)
        if made:
            for version in ("IPv4", "IPv6"):
                self.network.create_security_group_rule(security_group_id=group.id, direction="ingress", ether_type=version,
                                                        project_id=group.project_id)
        return str(group.id)

    def _way_out(self, network: str) -> str:
        for router in self.plan.routers.values():
            if network in router.networks and router.gateway:
                return str(self._found(router.gateway).id)
        raise click.ClickException(f"No router of this plan leads out of {network}: no guest there can have a floating IP.")

    def _found(self, network: str) -> Any:
        """A network of this plan, or one that the cloud has already."""
        mine = [one for one in self._mine("networks") if one.name == network]
        found = mine or list(self.network.networks(name=network))
        if len(found) != 1:
            raise click.ClickException(f"{'No network' if not found else f'{len(found)} networks'} of the name {network}.")
        return found[0]
