/**
 * Sockets on one host and the model of what they have to do: a datagram to an open socket arrives once, whole, with its source, in the order in
 * which its sender sent; one to nobody, and one that cannot be sent, cost themselves alone; each that was offered is counted once; nothing is called
 * after a close. What is in flight is so little that no receive buffer overflows.
 */
import { type Random, randomInt, SocketAddress } from "@adit/core";
import { bindUdp, udpRuntimes } from "../../src/udp/bind.ts";
import { bindBun } from "../../src/udp/bun-udp.ts";
import { isIcmpError } from "../../src/udp/errors.ts";
import type { Incoming, Outgoing, UdpBindOptions, UdpRuntime, UdpSocket } from "../../src/udp/udp.ts";
import { range, until } from "./udp.ts";

const MAX_SOCKETS = 10;
const MAX_FAULTS = 10;
/** Sockets that take bursts in parts open lanes for every peer of which a few come at once, and close them soon. */
const LANE_RULES = { busy: 20, windowMs: 50, idleMs: 20, few: 20 };
/** What may wait for one receiver, as the kernel counts it, roughly. */
const IN_FLIGHT_BYTES = 180_000;
const weight = (sizeBytes: number): number => 2 * sizeBytes + 1_024;

/** Many lengths, some of them met often, so that there are runs. No fragments for IPv6 on a loopback of 65,536. */
const SIZES = [0, 1, 3, 4, 5, 20, 100, 100, 1_200, 1_200, 1_200, 1_200, 1_472, 1_473, 9_000, 30_000, 65_400];

/** Where datagrams' bytes come from: each is a piece of it, with its number in front where there is room. */
const PATTERN = Buffer.alloc(131_072);
for (let i = 0, x = 1; i < PATTERN.length; i++) {
  x = (Math.imul(x, 1_103_515_245) + 12_345) >>> 0;
  PATTERN[i] = x >>> 16;
}
const pieceOf = (id: number, size: number): Uint8Array => PATTERN.subarray((id * 7_919) % 65_536).subarray(0, size);

function write(bytes: Uint8Array, id: number): Uint8Array {
  bytes.set(pieceOf(id, bytes.length));
  if (bytes.length >= 4) new DataView(bytes.buffer, bytes.byteOffset).setUint32(0, id);
  return bytes;
}

function isIntact(data: Uint8Array, id: number): boolean {
  return Buffer.compare(data.subarray(4), pieceOf(id, data.length).subarray(4)) === 0;
}

/** A datagram under way. */
interface Flight {
  readonly id: number;
  readonly size: number;
  readonly sender: Peer;
  readonly receiver: Peer;
  /** It need not arrive: its sender, to whom ICMP had something to say, counted one as lost, or was closed. */
  mayBeLost: boolean;
}

interface Peer {
  readonly name: string;
  readonly runtime: UdpRuntime;
  readonly socket: UdpSocket;
  readonly key: string;
  /** In parts, what the runtime read before may come late. */
  readonly inParts: boolean;
  open: boolean;
  /** Datagrams given to `send`, and what came. */
  offered: number;
  received: number;
  /** Whether it sent to nobody: what is offered again after an ICMP error may come late. */
  metIcmp: boolean;
  /** What a full socket did not take. */
  readonly waiting: Outgoing[];
  /** By sender: the last number that came. */
  readonly last: Map<Peer, number>;
  /** By source and length: those that are too short for a number. */
  readonly short: Map<string, number>;
  /** Bytes that came: lent ones until the end of the round, others until all is looked at once more. */
  readonly kept: { readonly data: Uint8Array; readonly id: number }[];
  inFlightBytes: number;
  /** What its handler does next time. */
  plan: ((self: Peer) => void) | null;
}

export class Net {
  /** What the model says must not be. */
  readonly faults: string[] = [];
  sent = 0;
  arrived = 0;
  /** Half of the runs have no ICMP errors, which let datagrams come late. */
  readonly #hasIcmp: boolean;
  readonly #random: Random;
  readonly #families: readonly ("4" | "6")[];
  readonly #peers: Peer[] = [];
  readonly #flights = new Map<number, Flight>();
  readonly #slab = new Uint8Array(262_144);
  /** Every process has addresses of its own where the system has more than one, so that no other test is met. */
  readonly #hosts: readonly string[];
  #names = 0;
  #nobody: SocketAddress | null = null;

  constructor(random: Random, hasIpv6: boolean) {
    this.#random = random;
    this.#hasIcmp = this.#chance(50);
    this.#families = hasIpv6 ? ["4", "4", "4", "6"] : ["4"];
    const prefix = `127.${1 + (process.pid % 250)}.${(process.pid >> 8) & 255}`;
    this.#hosts = process.platform === "linux" ? [`${prefix}.1`, `${prefix}.2`] : ["127.0.0.1"];
  }

  async bind(): Promise<void> {
    if (this.#peers.length >= MAX_SOCKETS) return;
    const runtime = this.#pick(udpRuntimes);
    const ip = this.#pick(this.#families) === "6" ? "::1" : this.#pick(this.#hosts);
    const lends = runtime === "linux" && this.#chance(50);
    const inParts = runtime === "bun" && this.#chance(50);
    const box: { peer: Peer | null } = { peer: null };
    const self = (call: string): Peer | null => {
      if (!box.peer) this.#fault(`${call} before bind was over`);
      else if (!box.peer.open) this.#fault(`${box.peer.name}: ${call} after close`);
      return box.peer;
    };
    const options: UdpBindOptions = {
      address: SocketAddress.of(ip, 0),
      runtime,
      lends,
      dontFragment: this.#chance(30),
      handlers: {
        onBatch: (batch) => this.#receive(self("onBatch"), batch, true),
        ...(inParts && { onPart: (part) => this.#receive(self("onPart"), part, false) }),
        onIcmpError: () => this.#runPlan(self("onIcmpError")),
        onDrain: () => this.#drain(self("onDrain")),
        ...(lends && { onRoundEnd: () => this.#lookAgain(box.peer) }),
      },
    };
    const socket = await (inParts ? bindBun(options, LANE_RULES) : bindUdp(options));
    const name = `${++this.#names} (${runtime}${lends ? ", lends" : ""}${inParts ? ", in parts" : ""})`;
    const counts = { offered: 0, received: 0, inFlightBytes: 0 };
    const tables = { waiting: [], last: new Map(), short: new Map(), kept: [] };
    const is = { open: true, metIcmp: false, inParts, plan: null };
    box.peer = { name, runtime, socket, key: socket.address.key, ...is, ...counts, ...tables };
    if (Boolean(socket.lends) !== lends) this.#fault(`${name}: lends ${socket.lends}`);
    this.#peers.push(box.peer);
  }

  close(peer: Peer = this.#pick(this.#peers)): void {
    if (!peer.open || this.#peers.length <= 2) return;
    peer.open = false;
    peer.socket.close();
    peer.socket.close();
    this.#peers.splice(this.#peers.indexOf(peer), 1);
    if (peer.socket.send([{ data: new Uint8Array(9), to: peer.socket.address }]) !== 1)
      this.#fault("sending after close");
    for (const flight of this.#flights.values()) {
      if (flight.receiver === peer) this.#flights.delete(flight.id);
      // What the runtime still had to offer again is gone with it; and what was not taken.
      else if (flight.sender === peer && (peer.metIcmp || peer.waiting.length > 0)) flight.mayBeLost = true;
    }
  }

  /** Some datagrams from one socket to one or several, in one batch. */
  send(sender: Peer = this.#pick(this.#peers)): void {
    const receivers = this.#peers.filter(({ socket }) => socket.address.family === sender.socket.address.family);
    const targets = range(1 + randomInt(this.#random, 3)).map(() => this.#pick(receivers));
    const size = this.#pick(SIZES);
    const isRun = this.#chance(60);
    const batch: Outgoing[] = [];
    for (let left = 1 + randomInt(this.#random, 80), used = 0; left > 0; left--) {
      const sizeBytes = isRun ? size : this.#pick(SIZES);
      const receiver = this.#pick(targets);
      if (receiver.inFlightBytes + weight(sizeBytes) > IN_FLIGHT_BYTES || used + sizeBytes > this.#slab.length)
        continue;
      const data = write(this.#slab.subarray(used, used + sizeBytes), ++this.sent);
      used += sizeBytes;
      this.#expect(sender, receiver, this.sent, sizeBytes);
      batch.push({ data, to: receiver.socket.address, dontFragment: this.#chance(5) });
    }
    this.#offer(sender, batch);
  }

  /** To an address where nobody is any more, and to others in between. */
  async sendToNobody(): Promise<void> {
    if (!this.#hasIcmp) return;
    this.#nobody ??= await this.#abandoned();
    const to = this.#nobody;
    const senders = this.#peers.filter(({ socket }) => socket.address.family === to.family);
    const sender = senders.length > 0 ? this.#pick(senders) : null;
    if (!sender) return;
    sender.metIcmp = true;
    const gone = () => this.#offer(sender, [{ data: new Uint8Array(7), to }]);
    for (let left = 1 + randomInt(this.#random, 4); left > 0; left--) {
      gone();
      if (this.#chance(50) && sender.open) this.send(sender);
    }
  }

  /** What no system sends: too long, to port 0, to the other family. */
  sendImpossible(): void {
    const sender = this.#pick(this.#peers);
    const { family } = sender.socket.address;
    const other = SocketAddress.of(family === 4 ? "::1" : "127.0.0.1", 9);
    const good = this.#pick(this.#peers.filter(({ socket }) => socket.address.family === family));
    const bad: Outgoing[] = [
      { data: new Uint8Array(65_536 + randomInt(this.#random, 200_000)), to: good.socket.address },
      { data: new Uint8Array(5), to: good.socket.address.withPort(0) },
      { data: new Uint8Array(5), to: other },
    ];
    this.#offer(
      sender,
      range(1 + randomInt(this.#random, 6)).map(() => this.#pick(bad)),
    );
  }

  /** When next something comes to some socket, or ICMP tells it something, its handler does more than read. */
  planInHandler(): void {
    this.#pick(this.#peers).plan = this.#pick([
      (self) => this.close(self),
      () => this.close(),
      (self) => this.send(self),
      () => this.send(),
      (self) => {
        this.send(self);
        this.close(self);
      },
      () => void this.bind().catch((error: unknown) => this.#fault(String(error))),
    ] satisfies NonNullable<Peer["plan"]>[]);
  }

  /** Everything that is under way arrives, what came is still as it was, and the counts agree. */
  async settle(): Promise<void> {
    try {
      await until(() => this.#peers.every((peer) => this.#isSettled(peer)), "all that was sent arrived", 5_000);
    } catch {
      for (const { id, size, sender, receiver } of this.#flights.values())
        this.#fault(`${id} of ${size} bytes from ${sender.name} to ${receiver.name} did not arrive`);
      for (const peer of this.#peers)
        this.#fault(
          `${peer.name}: ${peer.offered} were offered, ${peer.received} came, ${JSON.stringify(peer.socket.stats())}`,
        );
    }
    for (const flight of this.#flights.values()) flight.mayBeLost = true;
    for (const peer of this.#peers) {
      peer.inFlightBytes = 0;
      if (peer.socket.lends && peer.kept.length > 0) this.#fault(`${peer.name}: no end of the round`);
      this.#lookAgain(peer);
    }
  }

  closeAll(): void {
    for (const { socket } of this.#peers) socket.close();
  }

  /** Whether all of its datagrams were dealt with, and arrived, but for as many as it says it lost. */
  #isSettled(peer: Peer): boolean {
    if (peer.waiting.length > 0) return false;
    const { sent, sendErrors, received } = peer.socket.stats();
    if (received !== peer.received) return false;
    const errors = Object.entries(sendErrors);
    const failed = errors.reduce((sum, [, count]) => sum + count, 0);
    if (sent + failed !== peer.offered) return false;
    let missing = 0;
    for (const { sender, mayBeLost } of this.#flights.values()) if (sender === peer && !mayBeLost) missing++;
    const short = [...this.#peers].some(({ short }) =>
      [...short].some(([key, n]) => n > 0 && key.startsWith(`${peer.key} `)),
    );
    if (missing === 0 && !short) return true;
    const lost = errors.reduce((sum, [code, count]) => sum + (isIcmpError(code) ? count : 0), 0);
    // node:dgram offers it again in another turn, when the next error may have come.
    return peer.metIcmp && missing <= lost && (peer.runtime === "node" || lost === 0);
  }

  #expect(sender: Peer, receiver: Peer, id: number, size: number): void {
    receiver.inFlightBytes += weight(size);
    if (size >= 4) this.#flights.set(id, { id, size, sender, receiver, mayBeLost: false });
    else receiver.short.set(`${sender.key} ${size}`, (receiver.short.get(`${sender.key} ${size}`) ?? 0) + 1);
  }

  #offer(sender: Peer, batch: readonly Outgoing[]): void {
    sender.offered += batch.length;
    const rest = sender.waiting.length > 0 ? batch : batch.slice(sender.socket.send(batch));
    sender.waiting.push(...rest.map((one) => ({ ...one, data: one.data.slice() })));
    this.#slab.fill(0xee, 0, 4096); // its bytes may be used again
  }

  #drain(peer: Peer | null): void {
    if (!peer) return;
    if (peer.waiting.length === 0) this.#fault(`${peer.name}: drain for nothing`);
    peer.waiting.splice(0, peer.socket.send(peer.waiting));
  }

  #receive(peer: Peer | null, batch: readonly Incoming[], mayKeep: boolean): void {
    if (!peer) return;
    for (const incoming of batch) this.#check(peer, incoming, mayKeep);
    this.#runPlan(peer);
  }

  #runPlan(peer: Peer | null): void {
    const plan = peer?.plan;
    if (!peer || !plan) return;
    peer.plan = null;
    plan(peer);
  }

  #check(peer: Peer, { data, from }: Incoming, mayKeep: boolean): void {
    peer.received++;
    this.arrived++;
    peer.inFlightBytes -= weight(data.length);
    if (data.length < 4) {
      const key = `${from.key} ${data.length}`;
      const expected = peer.short.get(key) ?? 0;
      if (expected === 0) this.#fault(`${peer.name}: ${data.length} bytes from ${from.key} that nobody sent`);
      peer.short.set(key, expected - 1);
      return;
    }
    const id = new DataView(data.buffer, data.byteOffset).getUint32(0);
    const flight = this.#flights.get(id);
    if (!flight) return this.#fault(`${peer.name}: ${id} from ${from.key} came twice, or was never sent`);
    this.#flights.delete(id);
    const { sender, receiver, size } = flight;
    if (receiver !== peer) this.#fault(`${id} for ${receiver.name} came to ${peer.name}`);
    if (from.key !== sender.key) this.#fault(`${id} of ${sender.key} came from ${from.key}`);
    if (data.length !== size || !isIntact(data, id))
      this.#fault(`${id} from ${sender.name} to ${peer.name} is not what was sent`);
    const last = peer.last.get(sender) ?? 0;
    if (id < last && !sender.metIcmp && !peer.inParts) this.#fault(`${id} came behind ${last} to ${peer.name}`);
    peer.last.set(sender, id);
    if (mayKeep) peer.kept.push({ data, id });
  }

  /** What was kept is as it came. */
  #lookAgain(peer: Peer | null): void {
    for (const { data, id } of peer?.kept.splice(0) ?? [])
      if (!isIntact(data, id)) this.#fault(`${id} was written over when ${peer?.name} had it`);
  }

  async #abandoned(): Promise<SocketAddress> {
    const handlers = { onBatch: () => {}, onDrain: () => {} };
    const socket = await bindUdp({ address: SocketAddress.of(this.#pick(this.#hosts), 0), handlers });
    socket.close();
    return socket.address;
  }

  #fault(what: string): void {
    if (this.faults.length < MAX_FAULTS) this.faults.push(what);
  }

  #pick<V>(values: readonly V[]): V {
    return values[randomInt(this.#random, values.length)] as V;
  }

  #chance(percent: number): boolean {
    return randomInt(this.#random, 100) < percent;
  }
}
