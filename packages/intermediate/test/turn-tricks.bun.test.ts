/** A client that plays tricks, byte by byte, over real sockets: RFC 8656 §7 to §12 as the whole intermediate has it, over UDP and TCP. */
import { connect } from "node:net";
import { SocketAddress, systemRandom, toHex } from "@adit/core";
import { type T, test } from "@adit/harness";
import {
  decodeStun,
  frameForStream,
  getBytes,
  getErrorCode,
  getNonce,
  getUnknownAttributes,
  getXorAddress,
  isChannelData,
  longTermKey,
  STUN_ATTRIBUTE,
  STUN_METHOD,
  StreamDeframer,
  StunBuilder,
  type StunMessage,
  TRANSPORT_UDP,
  wrapChannelData,
} from "@adit/ice";
import { Identity } from "@adit/quic";
import { bindUdp, type Incoming, type UdpSocket } from "@adit/transport";
import { Intermediate } from "../src/server.ts";

const { ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND } = STUN_METHOD;
const [ALICE, BOB] = ["alice:secret-of-alice", "bob:secret-of-bob"].map((text) => {
  const [name = "", password = ""] = text.split(":");
  return { name, password };
}) as [User, User];

interface User {
  readonly name: string;
  readonly password: string;
}

type Add = (builder: StunBuilder) => unknown;

const loopback = (ip = "127.0.0.1"): SocketAddress => SocketAddress.of(ip, 0);

async function start(t: T): Promise<Intermediate> {
  const intermediate = await Intermediate.start({
    identity: Identity.generate(),
    listen: [loopback()],
    stun: [loopback()],
    relayPorts: { first: 20_000, last: 29_999 },
    allowPrivateRelay: true,
    realm: "adit",
    turnUsers: [ALICE, BOB],
  });
  t.teardown(() => intermediate.close());
  return intermediate;
}

/** What came and was not taken yet. */
class Inbox {
  #messages: Uint8Array[] = [];
  #wake: () => void = () => {};

  push(data: Uint8Array): void {
    this.#messages.push(data.slice());
    this.#wake();
  }

  get size(): number {
    return this.#messages.length;
  }

  async next(): Promise<Uint8Array> {
    for (;;) {
      const message = this.#messages.shift();
      if (message) return message;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

async function udpSocket(t: T, ip: string, inbox: Inbox): Promise<UdpSocket> {
  const onBatch = (batch: readonly Incoming[]): void => {
    for (const { data } of batch) inbox.push(data);
  };
  const socket = await bindUdp({ address: loopback(ip), handlers: { onBatch, onDrain: () => {} } });
  t.teardown(() => socket.close());
  return socket;
}

/** The test's own time limit is the bound. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 2));
}

class Trickster {
  readonly inbox: Inbox;
  readonly write: (data: Uint8Array) => void;
  nonce = "";

  private constructor(inbox: Inbox, write: (data: Uint8Array) => void) {
    this.inbox = inbox;
    this.write = write;
  }

  static async open(t: T, transport: "udp" | "tcp", server: SocketAddress): Promise<Trickster> {
    const inbox = new Inbox();
    if (transport === "udp") {
      const socket = await udpSocket(t, "127.0.0.1", inbox);
      return new Trickster(inbox, (data) => void socket.send([{ data, to: server }]));
    }
    const deframer = new StreamDeframer(65_536);
    const socket = connect({ host: server.ip, port: server.port });
    t.teardown(() => void socket.destroy());
    socket.on("data", (chunk: Uint8Array) => deframer.push(chunk, (message) => inbox.push(message)));
    await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    return new Trickster(inbox, (data) => void socket.write(data));
  }

  bytes(method: number, add: Add, o: { user?: User; nonce?: string; id?: Uint8Array } = {}): Uint8Array {
    const { name, password } = o.user ?? ALICE;
    const builder = new StunBuilder("request", method, o.id ?? systemRandom.bytes(12));
    add(builder);
    return builder
      .string(STUN_ATTRIBUTE.USERNAME, name)
      .string(STUN_ATTRIBUTE.REALM, "adit")
      .string(STUN_ATTRIBUTE.NONCE, o.nonce ?? this.nonce)
      .build({ key: longTermKey(name, "adit", password) });
  }

  async answer(): Promise<StunMessage> {
    const message = decodeStun(await this.inbox.next());
    if (!message) throw new Error("that is no STUN message");
    return message;
  }

  async ask(method: number, add: Add, o: { user?: User; nonce?: string } = {}): Promise<StunMessage> {
    this.write(this.bytes(method, add, o));
    return this.answer();
  }

  /** "ok", or the error's code. */
  async outcome(...args: Parameters<Trickster["ask"]>): Promise<"ok" | number> {
    return codeOf(await this.ask(...args));
  }

  async challenge(): Promise<string> {
    this.write(new StunBuilder("request", ALLOCATE, systemRandom.bytes(12)).build());
    const refused = await this.answer();
    this.nonce = getNonce(refused) ?? "";
    return this.nonce;
  }
}

const codeOf = (message: StunMessage): "ok" | number =>
  message.class === "success" ? "ok" : (getErrorCode(message)?.code ?? 0);
const udp: Add = (b) => b.u8(STUN_ATTRIBUTE.REQUESTED_TRANSPORT, TRANSPORT_UDP);
const token: Add = (b) => b.add(STUN_ATTRIBUTE.RESERVATION_TOKEN, new Uint8Array(8));
const evenPort =
  (bits: number): Add =>
  (b) =>
    b.add(STUN_ATTRIBUTE.EVEN_PORT, Uint8Array.of(bits));
const family =
  (type: number, code: number): Add =>
  (b) =>
    b.u8(type, code);
const all =
  (...adds: readonly Add[]): Add =>
  (b) => {
    for (const add of adds) add(b);
  };
const peers =
  (...addresses: readonly SocketAddress[]): Add =>
  (b) => {
    for (const address of addresses) b.xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, address);
  };
const channel =
  (number: number, address: SocketAddress): Add =>
  (b) =>
    b.channelNumber(number).xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, address);
const send = (to: SocketAddress, data: Uint8Array, add: Add = () => {}): Uint8Array => {
  const builder = new StunBuilder("indication", STUN_METHOD.SEND, systemRandom.bytes(12));
  add(builder.xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, to).add(STUN_ATTRIBUTE.DATA, data));
  return builder.build();
};

for (const transport of ["udp", "tcp"] as const) {
  test(`over ${transport}: what an Allocate may not ask for, and what becomes of two (§7.2)`, async (t) => {
    const server = (await start(t)).stunAddress;
    const client = await Trickster.open(t, transport, server);
    await client.challenge();
    const refusals: readonly (readonly [string, Add, number])[] = [
      ["no transport", () => {}, 400],
      ["TCP", (b) => b.u8(STUN_ATTRIBUTE.REQUESTED_TRANSPORT, 6), 442],
      ["token and even port", all(udp, token, evenPort(0)), 400],
      ["token and family", all(udp, token, family(STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY, 1)), 400],
      ["token and another family", all(udp, token, family(STUN_ATTRIBUTE.ADDITIONAL_ADDRESS_FAMILY, 2)), 400],
      ["pair and another family", all(udp, evenPort(0x80), family(STUN_ATTRIBUTE.ADDITIONAL_ADDRESS_FAMILY, 2)), 400],
      ["nobody's token", all(udp, token), 508],
      ["IPv6", all(udp, family(STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY, 2)), 440],
    ];
    for (const [name, add, code] of refusals) t.equal(await client.outcome(ALLOCATE, add), code, name);
    const unknown = await client.ask(
      ALLOCATE,
      all(udp, (b) => b.add(0x7abc, new Uint8Array(4))),
    );
    t.same([codeOf(unknown), getUnknownAttributes(unknown)], [420, [0x7abc]]);
    t.equal(await client.outcome(REFRESH, () => {}), 437, "there is nothing to refresh");

    // The same request twice and another one, before the first is answered.
    const id = systemRandom.bytes(12);
    const request = client.bytes(ALLOCATE, udp, { id });
    client.write(request);
    client.write(request);
    client.write(client.bytes(ALLOCATE, udp));
    const answers = [await client.answer(), await client.answer()];
    while (answers.filter((one) => codeOf(one) === 437).length < 1) answers.push(await client.answer());
    client.write(request); // a retransmission that comes late
    answers.push(await client.answer());
    const granted = answers.filter((one) => codeOf(one) === "ok");
    const relayed = granted.map((one) => getXorAddress(one, STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS)?.key);
    t.ok(granted.length >= 2 && new Set(relayed).size === 1, `one allocation: ${relayed.join(" ")}`);
    t.ok(granted.every((one) => toHex(one.transactionId) === toHex(id)));
  });

  test(`over ${transport}: whose an allocation is: credentials, 5-tuple, nonce, family, end (§5, §8)`, async (t) => {
    const intermediate = await start(t);
    const client = await Trickster.open(t, transport, intermediate.stunAddress);
    const other = await Trickster.open(t, transport, intermediate.stunAddress);
    const nonce = await client.challenge();
    await other.challenge();
    t.equal(await client.outcome(ALLOCATE, udp), "ok");
    t.equal(await client.outcome(REFRESH, () => {}, { user: BOB }), 441);
    t.equal(await client.outcome(ALLOCATE, udp, { user: BOB }), 437, "the 5-tuple is taken (§7.2), whoever asks");
    t.equal(await other.outcome(REFRESH, () => {}, {}), 437, "another 5-tuple");
    t.equal(await other.outcome(REFRESH, () => {}, { nonce }), 438, "another client's nonce");
    t.equal(await client.outcome(REFRESH, () => {}, { nonce: `${nonce.slice(0, -1)}!` }), 438);
    t.equal(await client.outcome(REFRESH, family(STUN_ATTRIBUTE.REQUESTED_ADDRESS_FAMILY, 2)), 443);
    const huge = await client.ask(REFRESH, (b) => b.u32(STUN_ATTRIBUTE.LIFETIME, 0xffffffff));
    t.same([...t.must(getBytes(huge, STUN_ATTRIBUTE.LIFETIME))], [0, 0, 0x0e, 0x10], "an hour at most");
    t.equal(await client.outcome(REFRESH, (b) => b.u32(STUN_ATTRIBUTE.LIFETIME, 0), { user: BOB }), 441);
    t.equal(intermediate.turn.stats.allocations, 1, "nobody else ends it");
    t.equal(await client.outcome(REFRESH, (b) => b.u32(STUN_ATTRIBUTE.LIFETIME, 0)), "ok");
    t.equal(await client.outcome(REFRESH, () => {}), 437);
    t.equal(intermediate.turn.stats.allocations, 0);
  });

  test(`over ${transport}: peers are reached by permission alone, all of a request or none; channels keep to their peer (§10 to §12)`, async (t) => {
    const intermediate = await start(t);
    const client = await Trickster.open(t, transport, intermediate.stunAddress);
    await client.challenge();
    const allocated = await client.ask(ALLOCATE, udp);
    const relayed = t.must(getXorAddress(allocated, STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS));
    const inboxes = [new Inbox(), new Inbox()] as const;
    const [a, b] = [await udpSocket(t, "127.0.0.2", inboxes[0]), await udpSocket(t, "127.0.0.3", inboxes[1])];
    const { counters } = intermediate.turn;

    t.equal(await client.outcome(CREATE_PERMISSION, peers(a.address, SocketAddress.of("224.0.0.1", 1))), 403);
    t.equal(await client.outcome(CREATE_PERMISSION, () => {}), 400);
    client.write(send(a.address, Uint8Array.of(1)));
    a.send([{ data: Uint8Array.of(2), to: relayed }]);
    t.equal(await client.outcome(CREATE_PERMISSION, peers(b.address)), "ok");
    client.write(send(b.address, Uint8Array.of(3)));
    t.same([...(await inboxes[1].next())], [3]);
    b.send([{ data: Uint8Array.of(4), to: relayed }]);
    const data = await client.answer();
    t.same([...t.must(getBytes(data, STUN_ATTRIBUTE.DATA))], [4]);
    await until(() => counters.get("no-permission") === 2);
    t.same([inboxes[0].size, client.inbox.size], [0, 0], "the permission of the refused request is not there");

    const binds: readonly (readonly [number, SocketAddress, "ok" | number])[] = [
      [0x3fff, a.address, 400],
      [0x8000, a.address, 400],
      [0x4000, a.address, "ok"],
      [0x4000, b.address, 400],
      [0x4001, a.address, 400],
      [0x4fff, b.address, "ok"],
      [0x5000, a.address.withPort(9), "ok"], // what RFC 5766 allowed, and coturn's clients draw: a deviation that is told
      [0x4002, SocketAddress.of("127.0.0.1", intermediate.stunAddress.port), 403],
    ];
    for (const [number, peer, expected] of binds) {
      t.equal(await client.outcome(CHANNEL_BIND, channel(number, peer)), expected, `0x${number.toString(16)} ${peer}`);
    }
    for (const length of [0, 1, 2, 3, 4, 5, 1000]) {
      const payload = systemRandom.bytes(length);
      const framed = wrapChannelData(0x4000, payload);
      // §12.5: padded over TCP; over UDP that is up to the sender.
      client.write(transport === "tcp" ? frameForStream([framed, framed]) : framed);
      t.equal(toHex(await inboxes[0].next()), toHex(payload), `${length} bytes`);
      if (transport === "tcp") t.equal(toHex(await inboxes[0].next()), toHex(payload), `${length} bytes again`);
    }
    client.write(
      transport === "tcp"
        ? frameForStream([wrapChannelData(0x4ffe, Uint8Array.of(9))])
        : wrapChannelData(0x4ffe, Uint8Array.of(9)),
    );
    a.send([{ data: Uint8Array.of(5, 6, 7), to: relayed }]);
    const channelData = await client.inbox.next();
    t.ok(isChannelData(channelData), "by its channel");
    t.same([...channelData.subarray(0, 7)], [0x40, 0, 0, 3, 5, 6, 7]);
    await until(() => counters.get("no-channel") === 1); // one that nobody bound
    t.same([inboxes[0].size, inboxes[1].size], [0, 0]);
  });
}
