"""The catalogue: which service answers where. Derived from `[identity] public_url`; ids stay the same for ever."""

import uuid
from typing import Any

from identity.settings import IdentitySettings

SERVICES = {"identity": "/identity/v3", "network": "/network"}
"""Type of a service → its path below the public URL."""
INTERFACES = ("public", "internal", "admin")


def _id(*words: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_OID, "/".join(("catalog", *words))).hex


class Catalog:
    def __init__(self, settings: IdentitySettings) -> None:
        base, region = settings.public_url.rstrip("/"), settings.region
        self.regions = [{"id": region, "description": "", "parent_region_id": None}]
        self.services = [
            {"id": _id(kind), "type": kind, "name": kind, "description": "", "enabled": True} for kind in SERVICES
        ]
        self.endpoints = [
            {"id": _id(region, kind, interface), "service_id": _id(kind), "interface": interface, "region": region,
             "region_id": region, "url": base + path, "enabled": True}
            for kind, path in SERVICES.items() for interface in INTERFACES
        ]
        words = ("id", "interface", "region", "region_id", "url")
        self.entries: list[dict[str, Any]] = [
            {"id": service["id"], "type": service["type"], "name": service["name"], "endpoints": [
                {word: endpoint[word] for word in words}
                for endpoint in self.endpoints if endpoint["service_id"] == service["id"]]}
            for service in self.services
        ]
        """As a token carries it."""
