"""Availability zones: there is one, and every host is in it."""

from unryu.checks import says

ZONE = "default"


@says(items={"type": "string", "enum": [ZONE]})
def zone_hints(values: list[str]) -> list[str]:
    """Check a list of zones (for `field(check=…)`)."""
    for value in values:
        if value != ZONE:
            raise ValueError(f"there is no availability zone {value!r}, only {ZONE}")
    return sorted(set(values))
