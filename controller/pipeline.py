"""The pipeline: every table, register and priority band. Said here only; docs/pipeline.md is generated from it.

Before you add a table: can the question be asked in one that stands here? Every table more is paid by the first packet
of each connection. If the question needs an "and", make two.
"""

from controller.flow import CT_MARK, Reg, Table
from controller.flow import METADATA as OPENFLOWS_OWN

BRIDGES = ("br-int", "br-tun", "br-ex")

# Registers of br-int and br-tun. A patch port carries the frame and nothing else: behind it all of them are 0, and the
# network's number crosses as the VLAN TCI (12 bits of VID, 3 of priority; 0x1000 says that there is a tag).
NETWORK = Reg("network", 0, 0, 15)
FROM_OVERLAY = Reg("from_overlay", 0, 15, 1)
TO_GUEST = Reg("to_guest", 0, 16, 1)
INBOUND = Reg("inbound", 0, 17, 1)
UNTRACKED = Reg("untracked", 0, 18, 1)
STRANGER = Reg("stranger", 0, 19, 1)
KNOWN = Reg("known", 0, 20, 1)
FROM_WIRE = Reg("from_wire", 0, 21, 1)
OWNED = Reg("owned", 0, 22, 1)  # by this host, which alone answers for it on a wire
TOO_LARGE = Reg("too_large", 0, 23, 1)
MEASURED = Reg("measured", 0, 24, 1)  # against the MTU of the next network
OF_ROUTER = Reg("of_router", 0, 25, 1)  # is the address, so an advertisement has to say so
YIELDED = Reg("yielded", 0, 26, 1)  # to another host: the gateway that the packet is at
CUT = Reg("cut", 0, 27, 1)  # so that it fits: it comes from the agent
RENAMED = Reg("renamed", 0, 28, 1)  # from the floating IP that it was sent to
OUT_PORT = Reg("out_port", 1, 0, 16)
CHUNK = Reg("chunk", 1, 16, 11)
POLICY = Reg("policy", 2, 0, 64)
PEER_MAC, PEER_POLICY = Reg("peer_mac", 4, 0, 48), Reg("peer_policy", 8, 0, 64)
ROUTER = Reg("router", 6, 0, 16)
FROM_PORT = Reg("from_port", 6, 16, 16)  # the guest's here that sent it; 0 where nobody here did
REASON = Reg("reason", 7, 0, 16)
GENERATION = Reg("generation", 7, 16, 8)  # of this host, as it yielded
CLAIMED_MAC = Reg("claimed_mac", 10, 0, 48)
# Of the network that a packet came to its router from. (Registers as numbers of 64 bits: the first of them is the upper half.)
SCOPE4, SCOPE6 = Reg("scope4", 4, 16, 16), Reg("scope6", 10, 16, 16)
METER = OPENFLOWS_OWN  # one more that it is to pass: 26 bits in one piece, which no register has left
ADDRESS = Reg("address", 12, 0, 128)  # the one that is asked about; see controller/addresses.py

# br-int, in the order of a packet from a guest.
CLASSIFY = Table("br-int", 0, "classify", "Which port does it come from, so which network?",
                 next=("marks", "spoof", "local", "heard", "l2", "asker", "output", "yielded_to", "limit"))
MARKS = Table("br-int", 4, "marks", "How does the policy of the port that it comes from mark it?", next=("spoof", "local"))
SPOOF = Table("br-int", 10, "spoof", "Who does it claim to be?", next=("own", "sender", "local"))
OWN = Table("br-int", 12, "own", "Is what it claims its port's own?")
SENDER = Table("br-int", 14, "sender", "Was all that it claimed its own?", next=("local",))
LOCAL = Table("br-int", 20, "local", "Does the cloud itself answer?", next=("whose", "answer", "track", "l2"), miss="track")
ANSWER = Table("br-int", 22, "answer", "What do we know of the address that is asked for?", next=("advertise", "l2"), miss="l2")
ADVERTISE = Table("br-int", 25, "advertise", "What does the neighbour advertisement say?")
# Once for who sends and, from l2 by resubmit, the only way back, once for each local port that it is for.
TRACK = Table("br-int", 30, "track", "Whose connection is it, if groups judge it at all?", next=("verdict", "rules"),
              miss="commit")
VERDICT = Table("br-int", 35, "verdict", "By the rules of which direction is its connection judged?", next=("rules",))
RULES = Table("br-int", 40, "rules", "Does a rule let it pass, whoever is at the other end?",
              next=("whose", "joined", "members", "commit"))
# Asked by resubmit, as a subroutine: it only loads registers.
WHOSE = Table("br-int", 45, "whose", "Whose address is it: of which MAC, in which groups?", next=("yielded_to",))
JOINED = Table("br-int", 48, "joined", "In which network that a router joins to this one is that address?", next=("whose",))
MEMBERS = Table("br-int", 50, "members", "Does a rule let members of those groups pass?", next=("commit",))
COMMIT = Table("br-int", 55, "commit", "Is its connection new, and where does it go on?", next=("l2", "output"))
HEARD = Table("br-int", 58, "heard", "Does it say that a MAC is on another host now, or an address another's?",
              next=("next_hops", "resolved"))
L2 = Table("br-int", 60, "l2", "Which port, or which host, is it for?",
           next=("whose", "track", "output", "overlay", "moved", "holder", "ask", "flood", "whence", "entry", "route", "exit",
                 "yielded_to"),
           miss="open")
MOVED = Table("br-int", 61, "moved", "Out of which port was a MAC that moves announced last?", learned=True)
HOLDER = Table("br-int", 62, "holder", "Which port that may hold that MAC is it for?", next=("track", "output", "overlay"))
ASK = Table("br-int", 64, "ask", "Who may hold an address that we do not know?", next=("track", "output", "ask", "open"),
            miss="open")
OPEN = Table("br-int", 66, "open", "Who hears what is for nobody that we know?", next=("track", "output", "open", "overlay"),
             miss="overlay")
FLOOD = Table("br-int", 68, "flood", "Who hears what is for everybody?", next=("track", "output", "flood", "overlay"),
              miss="overlay")
OVERLAY = Table("br-int", 70, "overlay", "How does it cross to br-tun?")
WHENCE = Table("br-int", 76, "whence", "May who sends to a router from a wire have that address?", next=("route",))
ASKER = Table("br-int", 78, "asker", "Which MAC has the port that asked for metadata?", next=("output",))
OUTPUT = Table("br-int", 80, "output", "Out of which port?", next=("paced",))
PACED = Table("br-int", 82, "paced", "How much may the port be sent?", next=("limit",))

# Behind l2, what is addressed to a router; each way ends in another question to l2, by resubmit.
ENTRY = Table("br-int", 90, "entry", "Is it for a floating IP, a forwarding, or for whom SNAT spoke?",
              next=("entry", "l2", "returned", "route", "agent", "limit"))
RETURNED = Table("br-int", 92, "returned", "Did SNAT know the connection?", next=("l2", "route", "agent"))
ROUTE = Table("br-int", 94, "route", "Which way is its destination?",
              next=("whose", "overlay", "l2", "route", "scope", "exit", "neighbour", "agent"))
SCOPE = Table("br-int", 95, "scope", "Is where it goes in the address scope that it comes from?", next=("neighbour",))
EXIT = Table("br-int", 96, "exit", "Has who sent it an address outside? Or from which host does it leave?",
             next=("overlay", "snat", "uplink", "yielded_to", "agent", "limit"))
SNAT = Table("br-int", 97, "snat", "Under which address does it leave, if this is the gateway still?",
             next=("overlay", "snat", "uplink", "agent", "limit"))
UPLINK = Table("br-int", 98, "uplink", "Which is the next hop outside?", next=("whose", "neighbour"))
NEIGHBOUR = Table("br-int", 100, "neighbour", "Which MAC has the next hop?", next=("l2", "next_hops", "resolved"))
NEXT_HOPS = Table("br-int", 102, "next_hops", "Which MAC did a next hop outside say that it has?", learned=True)
RESOLVED = Table("br-int", 104, "resolved", "Do we know it now, or is the agent to ask?", next=("l2", "agent"))

YIELDED_TO = Table("br-int", 106, "yielded_to", "Has another host announced itself as this gateway?", learned=True)
AGENT = Table("br-int", 108, "agent", "At whose expense does the agent hear of it: a guest's, or a router's?", next=("agent",))
LIMIT = Table("br-int", 110, "limit", "Does that meter let it pass, too?")  # a subroutine: a flow itself holds one meter only

# br-tun: network numbers inside, VNIs outside.
ORIGIN = Table("br-tun", 0, "origin", "From br-int, or from a VTEP that is a host of ours?", next=("arrive", "depart"))
ARRIVE = Table("br-tun", 20, "arrive", "Which network is this VNI?", next=("inward",))
INWARD = Table("br-tun", 30, "inward", "How does it cross to br-int?")
DEPART = Table("br-tun", 60, "depart", "Which host is it for, under which VNI?", next=("vtep",))
VTEP = Table("br-tun", 62, "vtep", "From behind which VTEP was a MAC that moves announced last?", learned=True)

# br-ex: the provider wire.
WIRE = Table("br-ex", 0, "wire", "Is it for a network on this wire?")

TABLES = (CLASSIFY, MARKS, SPOOF, OWN, SENDER, LOCAL, ANSWER, ADVERTISE, TRACK, VERDICT, RULES, WHOSE, JOINED, MEMBERS, COMMIT,
          HEARD, L2, MOVED, HOLDER, ASK, OPEN, FLOOD, OVERLAY, WHENCE, ASKER, OUTPUT, PACED, ENTRY, RETURNED, ROUTE, SCOPE,
          EXIT, SNAT, UPLINK, NEIGHBOUR, NEXT_HOPS, RESOLVED, YIELDED_TO, AGENT, LIMIT, ORIGIN, ARRIVE, INWARD, DEPART, VTEP,
          WIRE)
LEARNED_TABLES = frozenset((t.bridge, t.number) for t in TABLES if t.learned)
REGISTERS = (NETWORK, FROM_OVERLAY, TO_GUEST, INBOUND, UNTRACKED, STRANGER, KNOWN, FROM_WIRE, OWNED, TOO_LARGE, MEASURED,
             OF_ROUTER, YIELDED, CUT, RENAMED, OUT_PORT, CHUNK, POLICY, PEER_MAC, PEER_POLICY, ROUTER, FROM_PORT, REASON,
             GENERATION, CLAIMED_MAC, SCOPE4, SCOPE6, ADDRESS)

# Who answers at the host's door: the same on every host, and no guest's own.
DOOR_MAC = "fa:16:3f:ff:ff:fe"
METADATA, METADATA6 = "169.254.169.254", "fe80::a9fe:a9fe"  # where guests look for a cloud's word about them

# Why a packet comes to the routers' door (ovsagent/answers/calls.py says the same). What is no less than 68 is the MTU that it
# would not fit.
EXPIRED, NO_ROUTE, NOT_SERVED, NEXT_HOP, TRANSLATE, PIECE = 1, 2, 3, 4, 5, 6
NOBODY = "02:00:00:00:00:01"  # who sends what the agent itself says to a router

# Conntrack zones: one in which nothing is ever remembered; those of ports are their ofports, 100 to 0x7fff; those of
# routers their numbers and this.
NOBODYS_ZONE = 1
ROUTERS_ZONES = 0x8000
AS_ITSELF, AS_ANOTHER = CT_MARK[0:1], CT_MARK[1:2]  # in a port's zone: by its own address it was called, or by its floating IP

# Meters of br-int (a switch takes 2^18 of them, whatever their numbers): 256 for each ofport, from PORTS_METERS on, and as many
# for each router's number. Those below are an administrator's.
PORTS_METERS, ROUTERS_METERS = 1 << 24, 2 << 24
METERS = range(PORTS_METERS, 3 << 24)

# Priorities within a table. Prefixes stand at FALLBACK and the number of their bits (of 128): below SPECIAL.
MISS = 0
FALLBACK = 10
MULTICAST = 50
EXACT = 100
SPECIAL = 150
OVERRIDE = 200


def table_named(bridge: str, name: str) -> Table:
    return next(t for t in TABLES if t.bridge == bridge and t.name == name)
