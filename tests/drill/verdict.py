"""The state of a cloud held against its database: flows, books, rows, allocations, and what is left on the machine."""

import json
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from controller.derive import BOOK, recompute
from controller.openflow import wire
from controller.picture import Picture, flow_relevant
from controller.pipeline import BRIDGES, TABLES
from controller.segments import pool
from topology import api, links, processes
from topology.cloud import Cloud, run
from unryu import journal
from unryu.db import Database, Tx, allocations
from unryu.resource import nouns

SEEDED = ("default_security_group_rule",)
"""Nouns whose first rows came with the schema, without a journal."""

LEARNED = {(table.bridge, table.number) for table in TABLES if table.learned}
"""Where packets teach the switch flows that no row knows of."""


def flows(path: Path, bridge: str) -> set[tuple[int, Any]]:
    """What a bridge holds, asked at its own socket."""
    held: set[tuple[int, Any]] = set()
    unpack = {2: wire.flow_stats, 3: wire.meters}
    for message in _conversation(path, wire.flow_stats_request(2) + wire.meters_request(3), patience=10):
        if message[1] == 19:
            xid = wire.HEADER.unpack_from(message)[3]
            held |= {(each.cookie, each.flow) for each in unpack[xid](bridge, message)}
            if not wire.more_to_come(message) and unpack.pop(xid, None) is not None and not unpack:
                return held
    raise ConnectionError(f"{path} hung up")


def serves(path: Path) -> bool:
    """Whether vswitchd does its rounds: the thread that answers here is the one that carries packets."""
    try:
        return any(message[1] == wire.ECHO_REPLY for message in _conversation(path, wire.echo_request(2), patience=0.5))
    except OSError:
        return False


def _conversation(path: Path, question: bytes, patience: float) -> Iterator[bytes]:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(patience)
        line.connect(str(path))
        line.sendall(wire.HEADER.pack(4, wire.HELLO, 8, 1) + question)
        yield from _messages(line)


def _messages(line: socket.socket) -> Iterator[bytes]:
    unread = b""
    while received := line.recv(1 << 18):
        unread += received
        while len(unread) >= 8 and len(unread) >= (length := wire.HEADER.unpack_from(unread)[2]):
            yield unread[:length]
            unread = unread[length:]


def differing(cloud: Cloud, database: Database) -> list[str]:
    """Flows and answers that are not what a full recompute over the rows gives, in sentences."""
    from controller.bootstrap import load_features
    from controller.derive import catalogue

    load_features()
    with database.reading() as tx:
        picture = Picture.of(tx)
    wanted = recompute(picture, catalogue.values())
    found = []
    for host in cloud.hosts():
        for bridge in BRIDGES:
            want, have = set(wanted[host.name][bridge].values()), flows(host.dir / f"{bridge}.mgmt", bridge)
            found += [f"{host.name} {bridge} lacks {flow!r}" for flow in want - have]
            found += [f"{host.name} {bridge} has {flow!r}, which nobody wants" for flow in have - want
                      if (bridge, flow[1].table) not in LEARNED]
        book = {key: entry[1].data for key, entry in wanted[host.name][BOOK].items()}
        held = {tuple(key): json.loads(json.dumps(data)) for *key, data in api.agent(host, "GET", "/book")["answers"]}
        plain = {key[-3:]: json.loads(json.dumps(data)) for key, data in book.items()}
        found += [f"the book of {host.name} differs at {key}" for key in held.keys() | plain.keys()
                  if held.get(key) != plain.get(key)]
    return found


def inconsistent(tx: Tx) -> list[str]:
    """Rows against the journal played from its first entry, and against what is given out."""
    found = []
    entries = [journal.Entry(kind=row.kind, id=row.id, before=None, after=json.loads(row.after) if row.after else None,
                             revision=row.revision)
               for row in tx.connection.execute(journal.table.select().order_by(*journal.table.primary_key))]
    revisions = {entry.revision for entry in entries}
    if revisions != set(range(min(revisions), journal.head(tx.connection) + 1)):
        found.append("the journal's revisions have holes")
    played = Picture()
    played.apply(entries)
    rows: dict[str, dict[str, Any]] = {}
    for kind in (noun.kind for noun in nouns.values() if noun.service == "network" and noun.kind not in SEEDED):
        rows[kind] = {row.id: row for row in tx.where(kind)}
        said = {record.id: record for record in played.all(kind)}
        found += [f"{kind} {id}: its row is not what the journal says" for id in rows[kind].keys() | said.keys()
                  if id not in said or id not in rows[kind] or said[id] != flow_relevant(rows[kind][id])]
    held = {(f"subnet:{ip['subnet_id']}", ip["ip_address"]): port.id for port in rows["port"].values() for ip in port.fixed_ips}
    for network in rows["network"].values():
        held["network number", str(network.number)] = network.id
        if network.network_type != "local":
            held[pool(network.network_type, network.physical_network), str(network.segmentation_id or 0)] = network.id
    held |= {("router number", str(router.number)): router.id for router in rows["router"].values()}
    given = {(of, value): owner for of, value, owner in tx.connection.execute(allocations.select())}
    return found + [f"{of} {value} is given to {given.get((of, value))}, held by {held.get((of, value))}"
                    for of, value in given.keys() | held.keys() if given.get((of, value)) != held.get((of, value))]


def census(cloud: Cloud) -> Counter[str]:
    """Everything of a cloud on this machine, by name: processes, namespaces, links, ports of switches, guests."""
    # A monitor that died is not replaced: its switch works, and the supervisor watches that now.
    there = Counter(f"process {one.process}{'' if one.leader else ' (child)'}" for one in processes.find(cloud)
                    if processes.title(one) != "ovs-vswitchd-monitor")
    there.update(f"link {name}" for name in links.links(cloud))
    for namespace in links.namespaces(cloud):
        there[f"namespace {namespace}"] += 1
        there.update(f"link {link['ifname']} in {namespace}"
                     for link in json.loads(run("ip", "-n", namespace, "-j", "link", "show")))
    for host in cloud.hosts():
        held = run("ovs-vsctl", f"--db=unix:{host.ovsdb}", "--format=json", "--columns=name", "list", "Interface")
        there.update(f"port {name} of {host.name}" for [name] in json.loads(held)["data"])
        there.update(f"bridge {name} of {host.name}" for name in host.bridges())
    there.update(f"guest {path.name}" for path in (cloud.state / "guests").iterdir())
    return there
