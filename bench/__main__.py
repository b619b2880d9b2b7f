"""`python -m bench [NAME …]`: all benches, or these; figures are printed and kept in bench/results/latest.json."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import api, cloud, datapath, dhcp, failover, flows, groups, growth, large, metadata, restart, routers, scale

BENCHES: dict[str, tuple[Callable[[], dict[str, Any]], Callable[[dict[str, Any]], None]]] = {
    "flows": (flows.run, flows.show),
    "cloud": (cloud.run, cloud.show),
    "api": (api.run, api.show),
    "dhcp": (dhcp.run, dhcp.show),
    "metadata": (metadata.run, metadata.show),
    "groups": (groups.run, groups.show),
    "datapath": (datapath.run, datapath.show),
    "failover": (failover.run, failover.show),
    "restart": (restart.run, restart.show),
    "routers": (routers.run, routers.show),
    "scale": (scale.run, scale.show),
    "large": (large.run, large.show),
    "growth": (growth.run, growth.show),
}
RESULTS = Path(__file__).parent / "results" / "latest.json"


def main() -> int:
    names = sys.argv[1:] or list(BENCHES)
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"There is no bench {', '.join(unknown)}; there are {', '.join(BENCHES)}.", file=sys.stderr)
        return 2
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in names:
        run, show = BENCHES[name]
        result = run()
        show(result)
        kept[name] = {"at": time.strftime("%Y-%m-%d"), **result}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
