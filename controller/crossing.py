"""How numbers cross: between bridges and at the host's doors a frame carries nothing but its VLAN tag, so that is the word."""

from controller.flow import VLAN_TCI, Field, Terms, load, move, pop_vlan, push_vlan

TAGGED: Terms = VLAN_TCI.masked(0x1000, 0x1000)
VID, PRIORITY = VLAN_TCI[0:12], VLAN_TCI[13:16]  # 15 bits of a number; the one between them says that there is a tag


def tagged(number: int) -> Terms:
    return VLAN_TCI == tci(number)


def tci(number: int) -> int:
    return number & 0xFFF | 0x1000 | number >> 12 << 13


def tag(number: Field | int) -> tuple[bytes, ...]:
    """The words that put a tag on a frame: a number, or what the lowest 15 bits of a field say."""
    return push_vlan(), *said(number)


def said(number: Field | int) -> tuple[bytes, ...]:
    """The words that have the tag of a frame say another number."""
    if isinstance(number, int):
        return load(VID, number & 0xFFF), load(PRIORITY, number >> 12)
    return move(number[0:12], VID), move(number[12:15], PRIORITY)


def untag(number: Field) -> tuple[bytes, ...]:
    """The words that take it off, and lay what it says in the lowest 15 bits of a field."""
    return move(VID, number[0:12]), move(PRIORITY, number[12:15]), pop_vlan()
