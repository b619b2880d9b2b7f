"""Security groups: what may reach a port and what may leave it, as rules that many ports share."""

import uuid
from collections.abc import Iterable, Mapping
from ipaddress import ip_interface
from typing import TYPE_CHECKING, Any, Self

from unryu import quota
from unryu.checks import between, one_of
from unryu.errors import BadRequest, Conflict
from unryu.resource import Resource, field, nouns

if TYPE_CHECKING:
    from unryu.auth import Context
    from unryu.db import Tx

DEFAULT = "default"
PARENT = "PARENT"
"""In a template, the group that the rule is made for."""

PROTOCOLS: Mapping[str, int] = {
    "ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "icmpv6": 58, "igmp": 2, "ip": 4, "ipip": 4,
    "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43, "ospf": 89,
    "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
}
ANY = "any"
ICMP, ICMP6 = 1, 58
WITH_PORTS = frozenset(PROTOCOLS[name] for name in ("dccp", "sctp", "tcp", "udp", "udplite"))
ONLY_IPV6 = frozenset(number for name, number in PROTOCOLS.items() if name.startswith("ipv6-"))


def protocol(value: str | None) -> str | None:
    value = value.lower() if value else None
    if value is None or value == ANY or value in PROTOCOLS:
        return value
    if not (value.isascii() and value.isdigit()) or int(value[:4]) > 255:
        raise ValueError(f"{value!r} is no protocol: give a number from 0 to 255, {ANY}, or one of {', '.join(PROTOCOLS)}")
    return str(int(value))


def protocol_number(value: str | None) -> int | None:
    """None: any protocol."""
    return None if value in (None, ANY) else PROTOCOLS[value] if value in PROTOCOLS else int(value)


def ethertype(value: str) -> str:
    return one_of("IPv4", "IPv6")({"ipv4": "IPv4", "ipv6": "IPv6"}.get(value.lower(), value))


def prefix(value: str | None) -> str | None:
    """As it was given, with its length: the network of it is in `normalized_cidr`."""
    try:
        return str(ip_interface(value)) if value else None
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address or a CIDR, such as 10.0.0.0/24") from None


def id_or_none(value: str | None) -> str | None:
    return value or None


class SecurityGroup(Resource, kind="security_group", service="network", quota=10, visible_if=("shared",),
                    visible_by="rbac_policy", default_if="is_default"):
    stateful: bool = field(True, put=True)
    shared: bool = field(False, post=False, inert=True)
    is_default: bool = field(False, post=False, internal=True, inert=True)

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        if self.is_default:
            return self.replace(name=DEFAULT, description="Default security group")
        tx.default("security_group", self.project_id)
        self._not_called_default()
        return self

    def after_create(self, tx: "Tx", context: "Context") -> None:
        rules = list(self._rules_of_templates(tx))
        if not self.is_default:  # which nobody asked for, so that no quota can be in its way
            quota.check(tx, nouns["security_group_rule"], self.project_id, more=len(rules))
        for rule in rules:
            tx.insert(rule.before_create(tx, context))

    def before_update(self, tx: "Tx", context: "Context", before: Self) -> Self:
        if self.name != before.name:
            if self.is_default:
                raise Conflict("Updating default security group not allowed.", "SecurityGroupCannotUpdateDefault")
            self._not_called_default()
        if self.stateful != before.stateful and tx.where("port", security_groups=self.id):
            raise Conflict(f"Security group {self.id} is in use by ports: stateful cannot change.", "SecurityGroupInUse")
        return self

    def before_delete(self, tx: "Tx", context: "Context") -> None:
        # An administrator may: the default group of a project that is gone has to go, too.
        if self.is_default and not context.is_admin:
            raise Conflict("Insufficient rights for removing default security group.", "SecurityGroupCannotRemoveDefault")

    def _not_called_default(self) -> None:
        if self.name == DEFAULT:
            raise Conflict("Default security group already exists.", "SecurityGroupDefaultAlreadyExists")

    def _rules_of_templates(self, tx: "Tx") -> Iterable["SecurityGroupRule"]:
        used = "used_in_default_sg" if self.is_default else "used_in_non_default_sg"
        for template in tx.where("default_security_group_rule", **{used: True}):
            remote = self.id if template.remote_group_id == PARENT else template.remote_group_id
            if remote is None or tx.get("security_group", remote):  # a group that a template named may be gone
                yield SecurityGroupRule(
                    **{name: getattr(template, name) for name in SecurityGroupRule.fields if name in template.fields},
                    ).replace(id="", project_id=self.project_id, security_group_id=self.id, remote_group_id=remote)


WITHOUT_UPDATE = frozenset(("list", "show", "create", "delete"))


class SecurityGroupRule(Resource, kind="security_group_rule", service="network", quota=100, without=("name",),
                        visible_with="security_group_id", verbs=WITHOUT_UPDATE, identity=("security_group_id", "key")):
    security_group_id: str = field(ref="security_group", required=True, own=True, ondelete="cascade", part="rules", length=64)
    direction: str = field(required=True, check=one_of("ingress", "egress"), length=16)
    ethertype: str = field("IPv4", check=ethertype, length=16)
    protocol: str | None = field(None, check=protocol, length=40)
    port_range_min: int | None = field(None, check=between(0, 65535))
    port_range_max: int | None = field(None, check=between(0, 65535))
    remote_ip_prefix: str | None = field(None, check=prefix)
    normalized_cidr: str | None = field(None, post=False)
    remote_group_id: str | None = field(None, ref="security_group", ondelete="cascade", check=id_or_none, length=64)
    remote_address_group_id: str | None = field(None, ref="address_group", check=id_or_none, length=64)
    key: str = field("", internal=True, inert=True)
    """All that it says in one canonical text: two rules of one group are the same where it is."""

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        return self.replace(**followed(self))


class DefaultSecurityGroupRule(Resource, kind="default_security_group_rule", service="network", verbs=WITHOUT_UPDATE,
                               without=("project_id", "name", "tags", "created_at", "updated_at", "revision_number"),
                               roles={"create": "admin", "delete": "admin"}, identity=("key",)):
    """A template: every group that is made from now on begins with a rule like this."""

    direction: str = field(required=True, check=one_of("ingress", "egress"), length=16)
    ethertype: str = field("IPv4", check=ethertype, length=16)
    protocol: str | None = field(None, check=protocol, length=40)
    port_range_min: int | None = field(None, check=between(0, 65535))
    port_range_max: int | None = field(None, check=between(0, 65535))
    remote_ip_prefix: str | None = field(None, check=prefix)
    normalized_cidr: str | None = field(None, post=False, internal=True)
    remote_group_id: str | None = field(None, check=id_or_none, length=64)
    remote_address_group_id: str | None = field(None, ref="address_group", check=id_or_none, length=64)
    used_in_default_sg: bool = field(False)
    used_in_non_default_sg: bool = field(True)
    key: str = field("", internal=True, inert=True)

    @classmethod
    def seeds(cls) -> Iterable[Self]:
        """Everything may leave; to a project's default group, its members may come in."""
        for direction in ("egress", "ingress"):
            for version in ("IPv4", "IPv6"):
                inward = direction == "ingress"
                rule = cls(id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{cls.kind} {direction} {version}")), direction=direction,
                           ethertype=version, remote_group_id=PARENT if inward else None, used_in_default_sg=True,
                           used_in_non_default_sg=not inward)
                yield rule.replace(**followed(rule))

    def before_create(self, tx: "Tx", context: "Context") -> Self:
        if self.remote_group_id not in (None, PARENT):
            tx.need("security_group", self.remote_group_id)
        return self.replace(**followed(self))


def followed(rule: Any) -> dict[str, Any]:
    """What follows from a rule (or a template of one); 400 where it contradicts itself."""
    remotes = [r for r in (rule.remote_ip_prefix, rule.remote_group_id, rule.remote_address_group_id) if r]
    if len(remotes) > 1:
        raise BadRequest("Only one of remote_ip_prefix, remote_group_id and remote_address_group_id may be given.",
                         "SecurityGroupMultipleRemoteEntites")
    name = rule.protocol
    if rule.ethertype == "IPv6" and protocol_number(name) == ICMP:
        name = str(ICMP6) if name == str(ICMP) else "ipv6-icmp"  # whoever says ICMP means the one of that version
    elif rule.ethertype == "IPv6" and name == "icmpv6":
        name = "ipv6-icmp"
    number = protocol_number(name)
    if rule.ethertype == "IPv4" and number in ONLY_IPV6:
        raise BadRequest(f"Invalid ethertype IPv4 for protocol {name}.", "SecurityGroupEthertypeConflictWithProtocol")
    _check_range(number, rule.port_range_min, rule.port_range_max)
    network = ip_interface(rule.remote_ip_prefix).network if rule.remote_ip_prefix else None
    if network and rule.ethertype != f"IPv{network.version}":
        raise BadRequest(f"Conflicting value ethertype {rule.ethertype} for CIDR {rule.remote_ip_prefix}.",
                         "SecurityGroupRuleParameterConflict")
    remote = remotes[0] if remotes else None
    if network:
        remote = str(network) if network.prefixlen else None  # from everywhere is from anywhere
    said = (rule.direction, rule.ethertype, number, rule.port_range_min, rule.port_range_max, remote)
    return {"protocol": name, "normalized_cidr": str(network) if network else None,
            "key": " ".join("*" if part is None else str(part) for part in said)}


def _check_range(number: int | None, low: int | None, high: int | None) -> None:
    """Of ports; of ICMP, the type and the code."""
    if low is None and high is None:
        return
    if number is None:
        raise BadRequest("Must also specify protocol if port range is given.", "SecurityGroupProtocolRequiredWithPorts")
    if number in WITH_PORTS:
        if low == 0 or high == 0:
            raise BadRequest("Invalid value for port 0.", "SecurityGroupInvalidPortValue")
        if low is None or high is None or low > high:
            raise BadRequest("A range of ports needs both port_range_min and port_range_max, the first not above the other.",
                             "SecurityGroupInvalidPortRange")
    elif number in (ICMP, ICMP6):
        for what, value in (("type (port_range_min)", low), ("code (port_range_max)", high)):
            if value is not None and value > 255:
                raise BadRequest(f"Invalid value for ICMP {what} {value}. It must be 0 to 255.", "SecurityGroupInvalidIcmpValue")
        if low is None:
            raise BadRequest(f"ICMP code (port_range_max) {high} is given but ICMP type (port_range_min) is missing.",
                             "SecurityGroupMissingIcmpType")
    else:
        raise BadRequest(f"Ports cannot be specified for protocol {number}: only TCP, UDP, UDPLITE, SCTP and DCCP have them.",
                         "SecurityGroupInvalidProtocolForPort")
