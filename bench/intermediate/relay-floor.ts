/** What a relay cannot do without on this runtime: datagrams received in batches and sent on, from the same number of sockets. */
import { SocketAddress } from "@adit/core";
import { bindUdp, type Incoming, type Outgoing, type UdpSocket } from "@adit/transport";

const [peerPort = 0, relays = 1] = process.argv.slice(2, 4).map(Number);
/** `linux`: the sockets that the intermediate has, read together, whose datagrams are lent; otherwise the runtime's. */
const lends = process.argv[4] === "linux";
const peer = SocketAddress.of("127.0.0.1", peerPort);
const clients: SocketAddress[] = [];
const sockets: UdpSocket[] = [];
const relayOf = new Map<string, number>();

/** What waits to be sent on: by the runtime's sockets until a batch was read, by ours until all of a round were. */
const waiting = new Map<UdpSocket, Outgoing[]>();

function pass(socket: UdpSocket, outgoing: Outgoing): void {
  const others = waiting.get(socket);
  if (others) others.push(outgoing);
  else waiting.set(socket, [outgoing]);
}

function flush(): void {
  for (const [socket, outgoing] of waiting) socket.send(outgoing);
  waiting.clear();
}

function open(receive: (incoming: Incoming) => void): Promise<UdpSocket> {
  const onBatch = (batch: readonly Incoming[]): void => {
    for (const incoming of batch) receive(incoming);
    if (!lends) flush();
  };
  const handlers = { onBatch, onDrain: () => {}, onRoundEnd: flush };
  return bindUdp({ address: SocketAddress.of("127.0.0.1", 0), lends, handlers });
}

const front = await open(({ data, from }) => {
  const socket = sockets[relayFor(from)];
  if (socket) pass(socket, { data, to: peer });
});

/** Clients are given relays in the order in which they come. */
function relayFor(from: SocketAddress): number {
  const known = relayOf.get(from.key);
  if (known !== undefined) return known;
  relayOf.set(from.key, clients.length);
  return clients.push(from) - 1;
}

for (let i = 0; i < relays; i++) {
  sockets.push(
    await open(({ data }) => {
      const to = clients[i];
      if (to) pass(front, { data, to });
    }),
  );
}
console.log(JSON.stringify({ port: front.address.port }));
