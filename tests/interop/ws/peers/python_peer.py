"""An echo server, or a client that checks its echoes, with the Python package `websockets`."""

import asyncio
import sys

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve


async def client(uri, packing):
    compression = "deflate" if packing == "deflate" else None
    async with connect(uri, compression=compression, subprotocols=["a", "b"], max_size=None) as ws:
        assert ws.subprotocol == "b", ws.subprotocol
        agreed = [extension.name for extension in ws.protocol.extensions]
        assert agreed == (["permessage-deflate"] if compression else []), agreed
        for size in (0, 1, 125, 126, 65_535, 65_536, 500_000):
            for message in (b"\x07" * size, "ü" * size):
                await ws.send(message)
                assert await ws.recv() == message, size
        await ws.send(iter([b"in ", b"", b"fragments"]))
        assert await ws.recv() == b"in fragments"
        await (await ws.ping(b"there?"))
        await ws.send("close")
        try:
            await ws.recv()
            raise AssertionError("the server did not close")
        except websockets.ConnectionClosedOK as closed:
            assert closed.rcvd.code == 1000, closed
    async with connect(uri, compression=compression) as ws:
        await ws.close(4001, "enough")
        assert ws.close_code == 4001 and ws.protocol.close_rcvd.code == 4001, ws.close_code
    print("done", flush=True)


async def echo(ws):
    async for message in ws:
        await ws.send(message)


async def server(packing):
    compression = "deflate" if packing == "deflate" else None
    async with serve(echo, "127.0.0.1", 0, compression=compression, subprotocols=["b"], max_size=None) as listening:
        host, port = listening.sockets[0].getsockname()[:2]
        print(f"listening {host}:{port}", flush=True)
        await asyncio.Future()


if sys.argv[1] == "client":
    asyncio.run(client(sys.argv[2], sys.argv[3]))
else:
    asyncio.run(server(sys.argv[2]))
