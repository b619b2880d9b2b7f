"""Address scopes: subnet pools whose addresses must not repeat, so that what is routed between them is unambiguous."""

from controller.ipam import ip_version
from unryu.resource import Resource, field


class AddressScope(Resource, kind="address_scope", service="network", visible_if=("shared",), visible_by="rbac_policy"):
    ip_version: int = field(required=True, check=ip_version)
    shared: bool = field(False, put=True, admin=True, inert=True)
