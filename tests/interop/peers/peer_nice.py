"""A libnice agent that speaks lines of JSON (see ice-meet.mjs) and echoes datagrams.

NICE_TCP=1: TCP candidates alone, active and passive (RFC 6544).
"""
import ctypes
import json
import os
import sys

import gi

gi.require_version("Nice", "0.1")
from gi.repository import GLib, Nice  # noqa: E402


def say(**message):
    print(json.dumps(message), flush=True)


loop = GLib.MainLoop()
agent = Nice.Agent.new(GLib.MainContext.default(), Nice.Compatibility.RFC5245)
tcp = os.environ.get("NICE_TCP") == "1"
agent.set_property("ice-tcp", tcp)
agent.set_property("ice-udp", not tcp)
agent.set_property("upnp", False)
stream = agent.add_stream(1)

# What carries data is not open to introspection. Without somebody who reads, libnice does not look at its sockets either.
library = ctypes.CDLL("libnice.so.10")
Receive = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p
)
pointer = ctypes.c_void_p(hash(agent))


@Receive
def echo(_agent, of, component, length, data, _user):
    library.nice_agent_send(pointer, of, component, length, ctypes.c_void_p(data))


library.nice_agent_attach_recv(pointer, stream, 1, None, echo, None)


told = []
described = False


def gathered(_agent, _stream):
    global described
    _ok, ufrag, pwd = agent.get_local_credentials(stream)
    candidates = [agent.generate_local_candidate_sdp(one)[2:] for one in agent.get_local_candidates(stream, 1)]
    say(description={"ufrag": ufrag, "pwd": pwd, "candidates": candidates})
    described = True
    for remote in told:
        meet(remote)


def meet(remote):
    agent.set_remote_credentials(stream, remote["ufrag"], remote["pwd"])
    parsed = [agent.parse_remote_candidate_sdp(stream, "a=" + text) for text in remote["candidates"]]
    agent.set_remote_candidates(stream, 1, [one for one in parsed if one])


def changed(_agent, _stream, _component, state):
    if state == int(Nice.ComponentState.READY):
        say(connected=True)
    elif state == int(Nice.ComponentState.FAILED):
        say(error="libnice: ICE failed")


def hear(message):
    if "start" in message:
        agent.set_property("controlling-mode", message["role"] == "controlling")
        agent.gather_candidates(stream)
    elif "remote" in message:
        # An offer may come before our own candidates are gathered.
        if described:
            meet(message["remote"])
        else:
            told.append(message["remote"])


partial = b""


def readable(source, _condition):
    global partial
    data = os.read(source, 65536)
    if not data:
        loop.quit()
        return False
    *lines, partial = (partial + data).split(b"\n")
    for line in lines:
        hear(json.loads(line))
    return True


agent.connect("candidate-gathering-done", gathered)
agent.connect("component-state-changed", changed)
GLib.io_add_watch(sys.stdin.fileno(), GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, readable)
loop.run()
