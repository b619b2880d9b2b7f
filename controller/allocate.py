"""Numbers and MACs: pure choice of a candidate; `tx.allocate` and unique columns are the judges."""

import random
from collections.abc import Callable, Iterable

from unryu.errors import Conflict

Taken = Callable[[Iterable[str]], set[str]]

# A network's number crosses patch ports as a VLAN tag, the only thing that does: 12 bits of VID (0 and 4095 mean
# something else) under 3 bits of priority.
NETWORK_NUMBERS = tuple(pcp << 12 | vid for pcp in range(8) for vid in range(1, 4095))

ROUTER_NUMBERS = range(1, 0x8000)  # beside ports, they name zones of conntrack (controller/pipeline.py)


def free_number(numbers: range | tuple[int, ...], what: str) -> Callable[[Taken], str]:
    """Some free number: a few at random, and only when those are all taken, every one."""

    def choose(taken: Taken) -> str:
        few = [str(n) for n in random.sample(numbers, min(16, len(numbers)))]
        used = taken(few)
        for value in few:
            if value not in used:
                return value
        for start in range(0, len(numbers), 4096):
            chunk = [str(n) for n in numbers[start:start + 4096]]
            used = taken(chunk)
            for value in chunk:
                if value not in used:
                    return value
        raise Conflict(f"No {what} is left: all {len(numbers)} are in use.", "NoNetworkAvailable")

    return choose


def this_number(value: int, refusal: str, code: str) -> Callable[[Taken], str]:
    """This one; where it is taken, a 409 with this sentence and this code."""
    def choose(taken: Taken) -> str:
        if taken([str(value)]):
            raise Conflict(refusal, code)
        return str(value)

    return choose


def mac() -> str:
    """A random MAC of the range that OpenStack's guests have had since ever: fa:16:3e."""
    return "fa:16:3e:" + ":".join(f"{random.randrange(256):02x}" for _ in range(3))
