"""What is tried with every version of getty, in both directions: `in` is getty's client and our server, `out` the reverse."""

from dataclasses import dataclass, field

ALL = ("1.3.10", "1.4.3", "1.4.9", "1.5.0")
BOTH = ("in", "out")


@dataclass
class Scenario:
    name: str
    drive: dict = field(default_factory=dict)
    both: dict = field(default_factory=dict)
    """Flags of both ends; `getty` and `ours` replace single ones."""
    getty: dict = field(default_factory=dict)
    ours: dict = field(default_factory=dict)
    directions: tuple = BOTH
    versions: tuple = ALL
    restart: bool = False
    """Kill the server when the client is ready, and start it again."""
    counts: bool = True
    """The server has to have got every message and has to have seen an orderly end."""
    tolerated: str = "^$"
    """Errors that mean nothing."""

    def applies(self, version, direction):
        return direction in self.directions and version in self.versions


# A client of getty reads no longer WebSocket messages, see `ws-large`.
SMALL = {"messages": 250, "sizes": "1,5,100,1000,4000", "sessions": 3}
DATAGRAMS = {"messages": 200, "sizes": "1,5,100,1000,8000", "sessions": 2, "window": 2}
MIXED = {"messages": 250, "sizes": "1,5,100,1000,9000", "sessions": 3}
LARGE = {"messages": 9, "window": 3, "sizes": "65536,300000,1048576", "sessions": 2}
PIPELINED = {"messages": 1000, "window": 1000, "sizes": "64"}
LAST_WORD = {"mode": "remote", "messages": 100, "window": 101}


def stream(kind, **flags):
    """What every byte stream has to carry."""
    return [
        Scenario(f"{kind}-echo", MIXED, flags),
        Scenario(f"{kind}-large", LARGE, flags),
        Scenario(f"{kind}-pipelined", PIPELINED, flags),
        Scenario(f"{kind}-closed-by-server", LAST_WORD, flags),
    ]


# getty reports every WebSocket goodbye as an error, the orderly one too.
NORMAL = "websocket: close 1000"
# And some versions say it in a way that is none.
GOODBYES = f"{NORMAL}|illegal close code"


def messages(kind, **flags):
    """What every kind of messages has to carry."""
    return [
        Scenario(f"{kind}-echo", SMALL, flags, tolerated=GOODBYES),
        Scenario(f"{kind}-large", LARGE, flags, tolerated=GOODBYES),
        Scenario(f"{kind}-closed-by-server", LAST_WORD, flags, tolerated=GOODBYES),
    ]


SCENARIOS = [
    *stream("tcp"),
    Scenario("tcp-split", {"mode": "split", "messages": 40}),
    Scenario("tcp-heartbeat", {"mode": "beats", "messages": 5, "cron": "60ms"}, counts=False),
    Scenario("tcp-server-restarts", {"mode": "restart", "messages": 20}, restart=True, counts=False),
    *stream("zip", compress="zip"),
    Scenario("zip-server-restarts", {"mode": "restart", "messages": 20}, {"compress": "zip"}, restart=True, counts=False),
    Scenario("speed-echo", MIXED, {"compress": "speed"}),
    Scenario("best-echo", MIXED, {"compress": "best"}),
    Scenario("huffman-echo", MIXED, {"compress": "huffman"}),
    *stream("tls", transport="tls"),
    Scenario("tls-split", {"mode": "split", "messages": 40}, {"transport": "tls"}),
    Scenario("tls-server-restarts", {"mode": "restart", "messages": 20}, {"transport": "tls"}, restart=True, counts=False),
    Scenario("tls-zip-echo", MIXED, {"transport": "tls", "compress": "zip"}),
    *messages("ws", transport="ws"),
    Scenario("ws-pipelined", PIPELINED, {"transport": "ws"}, tolerated=GOODBYES),
    Scenario("ws-heartbeat", {"mode": "beats", "messages": 5, "cron": "60ms"}, {"transport": "ws"}, counts=False),
    Scenario("ws-server-restarts", {"mode": "restart", "messages": 20}, {"transport": "ws"}, restart=True, counts=False),
    Scenario("ws-zip-echo", SMALL, {"transport": "ws", "compress": "zip"}, tolerated=GOODBYES),
    # getty offers compression always, and does without when the peer declines.
    Scenario("ws-zip-declined-echo", SMALL, {"transport": "ws"}, getty={"compress": "zip"}, tolerated=GOODBYES),
    # Of the other WebSocket scenarios the end does not count.
    Scenario("ws-farewell", {"messages": 10}, {"transport": "ws"}, directions=("in",), tolerated=NORMAL),
    Scenario("ws-farewell-by-server", {"mode": "remote", "messages": 10}, {"transport": "ws"}, tolerated=NORMAL),
    *messages("wss", transport="wss"),
    Scenario("udp-echo", DATAGRAMS, {"transport": "udp"}, counts=False, tolerated="i/o timeout"),
    Scenario("udp-connect-ping", DATAGRAMS, {"transport": "udp"}, ours={"connect-ping": "yes"}, counts=False,
             directions=("out",), tolerated="i/o timeout"),
    # Both ends ignore it over UDP.
    Scenario("udp-zip-echo", DATAGRAMS, {"transport": "udp", "compress": "zip"}, counts=False, tolerated="i/o timeout"),
    # getty told to compress with "none" sends stored deflate blocks.
    Scenario("explicit-none-echo", {"messages": 20, "patience": "3000ms"}, getty={"compress": "explicit-none"}),
    Scenario("explicit-none-as-zip-echo", MIXED, getty={"compress": "explicit-none"}, ours={"compress": "zip"}),
    # getty's snappy writer holds back what it has until it is closed.
    Scenario("snappy-echo", {"messages": 20, "patience": "3000ms"}, {"compress": "snappy"}),
    Scenario("snappy-until-close", {"messages": 300, "sizes": "1,100,5000,100000"}, {"compress": "snappy", "mode": "mute"}),
    Scenario("snappy-closed-by-server", LAST_WORD, {"compress": "snappy"}, directions=("out",)),
    # getty's vectored write goes around its compressor.
    Scenario("zip-vectored", {"mode": "vectored", "messages": 20, "patience": "3000ms"}, {"compress": "zip"}, directions=("in",)),
    Scenario("zip-queued", {"mode": "queued", "messages": 50, "window": 50, "patience": "3000ms"}, {"compress": "zip"},
             directions=("in",)),
    Scenario("tcp-vectored", {"mode": "vectored", "messages": 50}, directions=("in",)),
    Scenario("tcp-queued", {"mode": "queued", "messages": 500, "window": 100}, directions=("in",)),
]
