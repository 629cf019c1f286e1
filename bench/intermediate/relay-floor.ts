/** What a relay cannot do without on this runtime: datagrams received in batches and sent on, from the same number of sockets. */
import { SocketAddress } from "@adit/core";
import { bindUdp, type Outgoing, type UdpSocket } from "@adit/transport";

const [peerPort = 0, relays = 1] = process.argv.slice(2).map(Number);
const peer = SocketAddress.of("127.0.0.1", peerPort);
const clients: SocketAddress[] = [];
const sockets: UdpSocket[] = [];
const relayOf = new Map<string, number>();

const front = await bindUdp({
  address: SocketAddress.of("127.0.0.1", 0),
  handlers: {
    onBatch: (batch) => {
      const bySocket = new Map<UdpSocket, Outgoing[]>();
      for (const { data, from } of batch) {
        const socket = sockets[relayFor(from)];
        if (!socket) continue;
        const outgoing = bySocket.get(socket);
        if (outgoing) outgoing.push({ data, to: peer });
        else bySocket.set(socket, [{ data, to: peer }]);
      }
      for (const [socket, outgoing] of bySocket) socket.send(outgoing);
    },
    onDrain: () => {},
  },
});

/** Clients are given relays in the order in which they come. */
function relayFor(from: SocketAddress): number {
  const known = relayOf.get(from.key);
  if (known !== undefined) return known;
  relayOf.set(from.key, clients.length);
  return clients.push(from) - 1;
}

for (let i = 0; i < relays; i++) {
  const socket = await bindUdp({
    address: SocketAddress.of("127.0.0.1", 0),
    handlers: {
      onBatch: (batch) => {
        const to = clients[i];
        if (to) front.send(batch.map(({ data }) => ({ data, to })));
      },
      onDrain: () => {},
    },
  });
  sockets.push(socket);
}
console.log(JSON.stringify({ port: front.address.port }));
