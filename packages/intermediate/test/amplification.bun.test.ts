/** What each UDP listener sends to an address that has proved nothing, byte for byte: nobody is to be flooded through this server. */
import { SocketAddress, systemRandom } from "@adit/core";
import { type T, test } from "@adit/harness";
import { STUN_ATTRIBUTE, STUN_METHOD, StunBuilder } from "@adit/ice";
import { Identity, QuicConfig, QuicEndpoint } from "@adit/quic";
import { SIGNALING_ALPN } from "@adit/signaling";
import { bindUdp } from "@adit/transport";
import { Intermediate } from "../src/server.ts";

const address = (ip: string): SocketAddress => SocketAddress.of(ip, 0);

async function start(t: T): Promise<Intermediate> {
  const intermediate = await Intermediate.start({
    identity: Identity.generate(),
    listen: [address("127.0.0.1")],
    stun: [address("127.0.0.1")],
    alternateAddress: "127.0.0.2",
    relayPorts: { first: 20_000, last: 29_999 },
    realm: "a-realm-of-an-ordinary-length.example.org",
  });
  t.teardown(() => intermediate.close());
  return intermediate;
}

/** Somebody whose address stands in packets that he did not send: he answers nothing. */
async function bystander(t: T): Promise<{ send(data: Uint8Array, to: SocketAddress): void; received(): number[] }> {
  const sizes: number[] = [];
  const onBatch = (batch: readonly { readonly data: Uint8Array }[]): void => {
    for (const { data } of batch) sizes.push(data.length);
  };
  const socket = await bindUdp({ address: address("127.0.0.1"), handlers: { onBatch, onDrain: () => {} } });
  t.teardown(() => socket.close());
  return { send: (data, to) => void socket.send([{ data, to }]), received: () => sizes };
}

const sum = (sizes: readonly number[]): number => sizes.reduce((a, b) => a + b, 0);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const stun = (method: number, add: (b: StunBuilder) => unknown = () => {}): Uint8Array => {
  const builder = new StunBuilder("request", method, systemRandom.bytes(12));
  add(builder);
  return builder.build();
};

function firstPacket(to: SocketAddress): Uint8Array {
  const config = QuicConfig.create({
    role: "client",
    identity: Identity.generate(),
    alpn: SIGNALING_ALPN,
    maxIdleTimeoutMs: 10_000,
  });
  const connection = new QuicEndpoint({ random: systemRandom }).connect(0, {
    config,
    local: { host: "127.0.0.1", port: 1 },
    remote: { host: to.ip, port: to.port },
  });
  const out = new Uint8Array(1500);
  return out.slice(0, connection.send(out)?.length ?? 0);
}

test("STUN and TURN: one answer, longer than its question by what STUN wants in it alone", async (t) => {
  const { stunAddress: to } = await start(t);
  const { ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND, BINDING } = STUN_METHOD;
  // Beyond the request: XOR-MAPPED-ADDRESS, RESPONSE-ORIGIN and OTHER-ADDRESS; ERROR-CODE, REALM, NONCE and PASSWORD-ALGORITHMS.
  const cases: readonly (readonly [string, Uint8Array, number])[] = [
    ["Binding", stun(BINDING), 3 * 12],
    ["Binding with PADDING", stun(BINDING, (b) => b.add(STUN_ATTRIBUTE.PADDING, new Uint8Array(1000))), 3 * 12],
    [
      "Binding with what is unknown",
      stun(BINDING, (b) => b.add(0x7abc, new Uint8Array(4)).add(0x7abd, new Uint8Array(4))),
      24,
    ],
    ...[ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND].map(
      (method) => [`request ${method}`, stun(method), 24 + 48 + 44 + 12] as const,
    ),
    ["a Send indication", new StunBuilder("indication", STUN_METHOD.SEND, new Uint8Array(12)).build(), -20],
    ["ChannelData", Uint8Array.of(0x40, 0, 0, 4, 1, 2, 3, 4), -8],
    ["nonsense", systemRandom.bytes(100).fill(0xff, 0, 1), -100],
  ];
  for (const [name, data, more] of cases) {
    const { send, received } = await bystander(t);
    send(data, to);
    if (more >= 0) while (received().length === 0) await pause(2);
    else await pause(20);
    await pause(5);
    t.ok(received().length <= 1 && sum(received()) <= data.length + more, `${name}: ${received()} for ${data.length}`);
  }
});

test("QUIC: three times the first packet at most, however long nobody answers; less than it for whatever is none", async (t) => {
  const { signalingAddress: to } = await start(t);
  const first = firstPacket(to);
  t.ok(first.length >= 1200);
  const otherVersion = firstPacket(to);
  otherVersion.set([0x0a, 0x0a, 0x0a, 0x0a], 1);
  const short = (length: number): Uint8Array => systemRandom.bytes(length).fill(0x40, 0, 1);
  const cases: readonly (readonly [string, Uint8Array, number])[] = [
    ["a first packet", first, 3 * first.length],
    ["one of a version that is unknown", otherVersion, otherVersion.length],
    ["a first packet that was cut", firstPacket(to).slice(0, 300), 0],
    ["a packet of no connection", short(1200), 1199],
    ["a short one", short(50), 49],
    ["a very short one", short(21), 20],
    ["a Handshake packet", firstPacket(to).fill(0xe0, 0, 1), first.length],
  ];
  const told = await Promise.all(
    cases.map(async ([name, data, most]) => {
      const { send, received } = await bystander(t);
      send(data, to);
      return { name, sent: data.length, received: received(), most };
    }),
  );
  // What is not acknowledged is repeated 1, 2 and 5 s after the first packet.
  await pause(5_300);
  for (const { name, sent, received, most } of told) t.ok(sum(received) <= most, `${name}: ${received} for ${sent}`);
  t.ok(sum(told[0]?.received ?? []) > 0, "the first packet was one");
});

test("QUIC: a flood of first packets in one address' name is answered with Retry, a tenth of each", async (t) => {
  const { signalingAddress: to, signaling } = await start(t);
  const { send, received } = await bystander(t);
  let sent = 0;
  for (let i = 0; i < 300; i++) {
    const packet = firstPacket(to);
    sent += packet.length;
    send(packet, to);
    if (i % 10 === 0) await pause(1);
  }
  await pause(500);
  t.ok(signaling.entrance.retriesSent > 200, `${signaling.entrance.retriesSent} Retries`);
  t.ok(sum(received()) < sent / 3, `${sum(received())} bytes for ${sent}`);
});
