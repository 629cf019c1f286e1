"""An aioice connection that speaks lines of JSON (see ice-meet.mjs) and echoes datagrams."""
import asyncio
import json
import sys

import aioice


async def lines():
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def say(**message):
    print(json.dumps(message), flush=True)


async def main():
    reader = await lines()
    start = json.loads(await reader.readline())
    options = {}
    if turn := start.get("turn"):
        options = {
            "turn_server": (turn["host"], turn["port"]),
            "turn_username": turn["username"],
            "turn_password": turn["password"],
            "turn_transport": turn["transport"],
            "transport_policy": aioice.TransportPolicy.RELAY,
        }
    connection = aioice.Connection(ice_controlling=start["role"] == "controlling", components=1, **options)
    await connection.gather_candidates()
    say(
        description={
            "ufrag": connection.local_username,
            "pwd": connection.local_password,
            "candidates": ["candidate:" + one.to_sdp() for one in connection.local_candidates],
        }
    )
    remote = json.loads(await reader.readline())["remote"]
    connection.remote_username = remote["ufrag"]
    connection.remote_password = remote["pwd"]
    for text in remote["candidates"]:
        await connection.add_remote_candidate(aioice.Candidate.from_sdp(text.split(":", 1)[1]))
    await connection.add_remote_candidate(None)
    await connection.connect()
    say(connected=True)

    async def echo():
        while True:
            await connection.send(await connection.recv())

    task = asyncio.ensure_future(echo())
    await reader.readline()
    task.cancel()
    await connection.close()


try:
    asyncio.run(main())
except Exception as error:  # whatever it is, the other side has to know
    say(error=repr(error))
