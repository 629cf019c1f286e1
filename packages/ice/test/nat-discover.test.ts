import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { discoverNat } from "../src/nat/discover.ts";
import { getU32 } from "../src/stun/attributes.ts";
import { StunBuilder } from "../src/stun/builder.ts";
import { decodeStun } from "../src/stun/message.ts";
import { STUN_ATTRIBUTE } from "../src/stun/tables.ts";

/** A STUN server with two addresses and two ports (RFC 5780 §6), on loopback. */
async function openServer() {
  const first = await bind("127.0.0.1", 0);
  const second = await bind("127.0.0.1", 0);
  const [port, otherPort] = [first.address().port, second.address().port];
  const at = new Map([
    ["00", first],
    ["01", second],
    ["10", await bind("127.0.0.2", port)],
    ["11", await bind("127.0.0.2", otherPort)],
  ]);
  for (const [place, socket] of at) {
    socket.on("message", (data, from) => {
      const request = decodeStun(data);
      if (!request) return;
      const change = getU32(request, STUN_ATTRIBUTE.CHANGE_REQUEST) ?? 0;
      const ip = Number(place[0]) ^ (change & 4 ? 1 : 0);
      const number = Number(place[1]) ^ (change & 2 ? 1 : 0);
      const answer = new StunBuilder("success", request.method, request.transactionId)
        .xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, SocketAddress.of(from.address, from.port))
        .address(STUN_ATTRIBUTE.OTHER_ADDRESS, SocketAddress.of("127.0.0.2", otherPort))
        .build();
      at.get(`${ip}${number}`)?.send(answer, from.port, from.address);
    });
  }
  return { port, close: () => at.forEach((socket) => void socket.close()) };
}

async function bind(ip: string, port: number): Promise<Socket> {
  const socket = createSocket("udp4");
  socket.bind(port, ip);
  await once(socket, "listening");
  return socket;
}

test("over loopback there is no NAT and no filter, and it is said", async (t) => {
  const server = await openServer();
  try {
    const report = await discoverNat({ server: `127.0.0.1:${server.port}` });
    t.equal(report.nat, false);
    t.equal(report.mapping, "EIM");
    t.equal(report.filtering, "EIF");
    t.match(report.reason, /no NAT/);
  } finally {
    server.close();
  }
});

test("a silent server is said to be silent, and an abort ends the wait", async (t) => {
  const silent = await bind("127.0.0.1", 0);
  const server = `127.0.0.1:${silent.address().port}`;
  try {
    const timing = { rtoMs: 10, maxRequests: 2, lastWaitFactor: 2 };
    const report = await discoverNat({ server, timing });
    t.equal(report.nat, null);
    t.match(report.reason, /No answer/);
    const signal = AbortSignal.timeout(20);
    await t.rejects(discoverNat({ server, signal }), { code: "closed" });
    await t.rejects(discoverNat({ server: "no port" }), { code: "bad-server" });
  } finally {
    silent.close();
  }
});
