"""The pipeline: every table, register and priority band. Said here only; docs/pipeline.md is generated from it.

Before you add a table: can the question be asked in one that stands here? Every table more is paid by the first packet
of each connection. If the question needs an "and", make two.
"""

from controller.flow import Reg, Table

BRIDGES = ("br-int", "br-tun", "br-ex")

# Registers of br-int and br-tun. A patch port carries the frame and nothing else: behind it all of them are 0, and the
# network's number crosses as the VLAN TCI (12 bits of VID, 3 of priority; 0x1000 says that there is a tag).
NETWORK = Reg("network", 0, 0, 15)
FROM_OVERLAY = Reg("from_overlay", 0, 15, 1)
TO_GUEST = Reg("to_guest", 0, 16, 1)
INBOUND = Reg("inbound", 0, 17, 1)
UNTRACKED = Reg("untracked", 0, 18, 1)
OUT_PORT = Reg("out_port", 1, 0, 16)
STRANGER = Reg("stranger", 0, 19, 1)
POLICY = Reg("policy", 2, 0, 64)
REMOTE4, REMOTE6 = Reg("remote4", 4, 0, 32), Reg("remote6", 4, 0, 128)
PEER_POLICY = Reg("peer_policy", 8, 0, 64)
CLAIMED_MAC, CLAIM = Reg("claimed_mac", 10, 0, 48), Reg("claim", 12, 0, 128)
NETWORK_VID, NETWORK_PCP = NETWORK.of[0:12], NETWORK.of[12:15]

# br-int, in the order of a packet from a guest.
CLASSIFY = Table("br-int", 0, "classify", "Which port does it come from, so which network?",
                 next=("spoof", "local", "l2", "output"))
SPOOF = Table("br-int", 10, "spoof", "Who does it claim to be?", next=("own", "sender", "local"))
OWN = Table("br-int", 12, "own", "Is what it claims its port's own?")
SENDER = Table("br-int", 14, "sender", "Was all that it claimed its own?", next=("local",))
LOCAL = Table("br-int", 20, "local", "Does the cloud itself answer?", next=("advertise", "track", "l2"), miss="track")
ADVERTISE = Table("br-int", 25, "advertise", "What does the neighbour advertisement say?")
# Once for who sends and, from l2 by resubmit, the only way back, once for each local port that it is for.
TRACK = Table("br-int", 30, "track", "Whose connection is it, if groups judge it at all?", next=("verdict", "rules"),
              miss="commit")
VERDICT = Table("br-int", 35, "verdict", "By the rules of which direction is its connection judged?", next=("rules",))
RULES = Table("br-int", 40, "rules", "Does a rule let it pass, whoever is at the other end?", next=("peer", "commit"))
PEER = Table("br-int", 45, "peer", "Which groups is the other end in?", next=("members",))
MEMBERS = Table("br-int", 50, "members", "Does a rule let members of those groups pass?", next=("commit",))
COMMIT = Table("br-int", 55, "commit", "Is its connection new, and where does it go on?", next=("l2", "output"))
L2 = Table("br-int", 60, "l2", "Which port, or which host, is it for?", next=("track", "output", "overlay"))
OVERLAY = Table("br-int", 70, "overlay", "How does it cross to br-tun?")
OUTPUT = Table("br-int", 80, "output", "Out of which port?")

# br-tun: network numbers inside, VNIs outside.
ORIGIN = Table("br-tun", 0, "origin", "From br-int, or from a VTEP that is a host of ours?", next=("arrive", "depart"))
ARRIVE = Table("br-tun", 20, "arrive", "Which network is this VNI?", next=("inward",))
INWARD = Table("br-tun", 30, "inward", "How does it cross to br-int?")
DEPART = Table("br-tun", 60, "depart", "Which host is it for, under which VNI?")

# br-ex: the provider wire.
WIRE = Table("br-ex", 0, "wire", "Is it for a network on this wire?")

TABLES = (CLASSIFY, SPOOF, OWN, SENDER, LOCAL, ADVERTISE, TRACK, VERDICT, RULES, PEER, MEMBERS, COMMIT, L2, OVERLAY, OUTPUT,
          ORIGIN, ARRIVE, INWARD, DEPART, WIRE)
REGISTERS = (NETWORK, FROM_OVERLAY, TO_GUEST, INBOUND, UNTRACKED, STRANGER, OUT_PORT, POLICY, REMOTE4, REMOTE6, PEER_POLICY,
             CLAIMED_MAC, CLAIM)

# Who answers at the host's door: the same on every host, and no guest's own.
DOOR_MAC = "fa:16:3f:ff:ff:fe"

# Priorities within a table.
MISS = 0
FALLBACK = 10
MULTICAST = 50
EXACT = 100
SPECIAL = 150
OVERRIDE = 200


def table_named(bridge: str, name: str) -> Table:
    return next(t for t in TABLES if t.bridge == bridge and t.name == name)
