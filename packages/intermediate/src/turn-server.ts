/**
 * A TURN server (RFC 8656), with the STUN Binding service on the same sockets. Sans-IO: messages in, messages and commands to
 * bind relay sockets out. A client is its address and the socket of ours that it talks to, UDP, TCP or TLS alike: whoever owns a
 * stream cuts it into messages, and pads what goes back.
 *
 * Deviations from the RFC, each on purpose:
 * - Channel numbers up to 0x7FFF are accepted. RFC 8656 §12 ends at 0x4FFF, so that ChannelData can be told from QUIC and RTP by its
 *   first byte (RFC 7983); this port carries neither, and clients of RFC 5766, coturn's own among them, draw from all of 0x4000-0x7FFF.
 * - 441 compares the holder of the credentials, not the text of the user name: `expiry:id` changes when credentials are renewed.
 * - Expired credentials still refresh what stands. No new allocation is made with them.
 * - Ports are not reserved (EVEN-PORT with the R bit, RESERVATION-TOKEN: 508). RTP/RTCP port pairs are a thing of the past.
 * - Packets between two allocations of this server never touch a socket, so it works behind a 1:1 NAT that does not hairpin.
 */
import {
  Counters,
  type Deadline,
  type Logger,
  type Millis,
  nullLogger,
  type Random,
  SocketAddress,
  type SocketId,
  type Transmit,
} from "@adit/core";
import {
  CHANNEL_DATA_HEADER_BYTES,
  channelNumberOf,
  channelPayload,
  decodeStun,
  getBytes,
  getXorAddress,
  isLegacyChannelData,
  STUN_ATTRIBUTE,
  STUN_METHOD,
  StunBuilder,
  type StunMessage,
  unknownComprehensionRequired,
  verifyFingerprint,
  writeChannelHeader,
} from "@adit/ice";
import type { Accounts } from "./accounts.ts";
import type { Allocation, Channel, RelayId } from "./allocation.ts";
import {
  type AllocationRefusal,
  AllocationTable,
  TURN_LIMITS,
  type TurnCommand,
  type TurnLimits,
} from "./allocation-table.ts";
import type { Credentials } from "./credentials.ts";
import type { RelayPolicy } from "./relay-policy.ts";
import { BindingServer, type DiscoverySocket } from "./stun-server.ts";
import { TurnRequests } from "./turn-requests.ts";

export interface TurnServerOptions {
  /** The socket that clients talk to, or the first of several. */
  readonly socket: SocketId;
  /** RFC 5780: the four UDP sockets, {@link socket} among them. */
  readonly discovery?: readonly DiscoverySocket[];
  /** Where relay sockets are bound. */
  readonly bindIp: string;
  /** The IP address in XOR-RELAYED-ADDRESS. */
  readonly relayedIp: string;
  /** `--relay-ports`, both included. */
  readonly ports: { readonly first: number; readonly last: number };
  readonly credentials: Credentials;
  readonly policy: RelayPolicy;
  readonly random: Random;
  readonly limits?: Partial<TurnLimits>;
  readonly accounts?: Accounts | undefined;
  readonly log?: Logger;
}

export type TurnDrop =
  | "malformed"
  | "bad-fingerprint"
  | "unexpected-message"
  | "no-allocation"
  | "no-channel"
  | "no-permission"
  | "denied-peer"
  | "too-long"
  | "quota"
  | "queue-full";

export interface TurnStats {
  readonly allocations: number;
  readonly relayedPackets: number;
  /** Payload bytes that were passed on, both directions. */
  readonly relayedBytes: number;
}

/** Datagrams waiting for the driver, which drains after each batch of at most 512; past it they are dropped, as a network would. */
const MAX_QUEUE = 8192;

/** The longest UDP payload over IPv4. */
const MAX_UDP_PAYLOAD = 65_507;

const SEND_KNOWN: ReadonlySet<number> = new Set([STUN_ATTRIBUTE.XOR_PEER_ADDRESS, STUN_ATTRIBUTE.DATA]);

export class TurnServer {
  readonly counters = new Counters<TurnDrop>();
  readonly #socket: SocketId;
  readonly #relayedIp: string;
  readonly #policy: RelayPolicy;
  readonly #random: Random;
  readonly #log: Logger;
  readonly #allocations: AllocationTable;
  readonly #requests: TurnRequests;
  readonly #binding: BindingServer;
  readonly #framer = new Framer();
  #transmits: Transmit[] = [];
  #nextTransmit = 0;
  #relayedPackets = 0;
  #relayedBytes = 0;

  constructor(options: TurnServerOptions) {
    const { log = nullLogger, policy, random, credentials, bindIp, relayedIp, ports, accounts } = options;
    const limits = { ...TURN_LIMITS, ...options.limits };
    this.#socket = options.socket;
    this.#binding = new BindingServer(options.discovery);
    this.#relayedIp = relayedIp;
    this.#policy = policy;
    this.#random = random;
    this.#log = log;
    this.#allocations = new AllocationTable({ bindIp, relayedIp, ports, limits, accounts, policy, random, log });
    this.#requests = new TurnRequests({
      allocations: this.#allocations,
      credentials,
      policy,
      random,
      family: SocketAddress.of(relayedIp, 0).family,
      log,
    });
  }

  /** A message from a client, to `socket` or, without one, to the first. `data` is kept until it is sent on. */
  handleDatagram(now: Millis, from: SocketAddress, data: Uint8Array, socket: SocketId = this.#socket): void {
    if (isLegacyChannelData(data)) return this.#handleChannelData(now, socket, from, data);
    const message = decodeStun(data);
    if (!message) return this.counters.add("malformed");
    if (message.fingerprintOffset >= 0 && !verifyFingerprint(message)) return this.counters.add("bad-fingerprint");
    if (message.class === "request") {
      if (message.method === STUN_METHOD.BINDING) {
        const answer = this.#binding.answer(message, from, socket);
        return this.#transmit(answer.data, answer.socket, answer.to);
      }
      const response = this.#requests.handle(now, socket, from, message);
      if (response === "unknown-method") return this.counters.add("unexpected-message");
      if (response !== "later") this.#transmit(response, socket, from);
      return;
    }
    if (message.class === "indication" && message.method === STUN_METHOD.SEND) {
      return this.#handleSend(now, socket, from, message);
    }
    // A Binding indication keeps a NAT's mapping alive (RFC 8489 §5) and asks for nothing.
    if (message.class === "indication" && message.method === STUN_METHOD.BINDING) return;
    this.counters.add("unexpected-message");
  }

  /** A datagram from a peer to the relayed address of an allocation. */
  handleRelayDatagram(now: Millis, relay: RelayId, from: SocketAddress, data: Uint8Array): void {
    const allocation = this.#allocations.ofRelay(relay);
    if (!allocation) return this.counters.add("no-allocation");
    this.#toClient(now, allocation, from, data);
  }

  /** The driver bound the socket that a `bind` command asked for. */
  handleBound(relay: RelayId, socket: SocketId): void {
    const allocation = this.#allocations.ofRelay(relay);
    if (allocation?.state.kind !== "binding") return this.#allocations.closeSocket(relay);
    const { request, port } = allocation.state;
    const relayed = SocketAddress.of(this.#relayedIp, port);
    const response = this.#requests.allocateSuccess(allocation.client, relayed, request);
    this.#allocations.setLive(allocation, relayed, socket, response);
    this.#transmit(response, allocation.clientSocket, allocation.client);
  }

  /** The driver could not. `portTaken`: another port may do. */
  handleBindFailed(relay: RelayId, reason: string, portTaken: boolean): void {
    const allocation = this.#allocations.ofRelay(relay);
    if (allocation?.state.kind !== "binding") return;
    if (portTaken && this.#allocations.tryNextPort(allocation)) return;
    this.#log.warn("relay-bind-failed", { port: allocation.state.port, reason });
    const response = this.#requests.allocateFailure(allocation.state.request);
    this.#allocations.remove(allocation, "bind-failed");
    this.#transmit(response, allocation.clientSocket, allocation.client);
  }

  /** The stream of a client ended. Its allocation can be reached by nobody any more: a new connection is another 5-tuple. */
  handleClosed(now: Millis, from: SocketAddress, socket: SocketId): void {
    const allocation = this.#allocations.of(now, socket, from);
    if (allocation) this.#allocations.remove(allocation, "stream-closed");
  }

  hasAllocation(now: Millis, from: SocketAddress, socket: SocketId = this.#socket): boolean {
    return this.#allocations.of(now, socket, from) !== null;
  }

  /** Whether this port of the relayed IP is a live allocation: for the relay policy. */
  isLivePort(port: number): boolean {
    return this.#allocations.ofPort(port) !== undefined;
  }

  /** Allocations that were refused, by reason. */
  get refusals(): Counters<AllocationRefusal> {
    return this.#allocations.refusals;
  }

  /** No new allocations; those that stand go on. */
  beginDrain(): void {
    this.#allocations.close();
  }

  /** Ends every allocation. Clients are not told: TURN has no message for it; their next Refresh would get 437. */
  close(): void {
    this.#allocations.removeAll("shutdown");
  }

  handleTimeout(now: Millis): void {
    this.#allocations.sweep(now);
  }

  pollTimeout(): Deadline | null {
    const at = this.#allocations.sweepAt;
    return at === null ? null : { at, reason: "expired allocations" };
  }

  pollTransmit(): Transmit | null {
    const transmit = this.#transmits[this.#nextTransmit];
    if (transmit) {
      this.#nextTransmit++;
      return transmit;
    }
    if (this.#nextTransmit > 0) {
      this.#transmits = [];
      this.#nextTransmit = 0;
    }
    return null;
  }

  /** Every datagram polled so far was sent, copied or dropped. */
  flushed(): void {
    if (this.#nextTransmit === this.#transmits.length) this.#framer.reuse();
  }

  pollCommand(): TurnCommand | null {
    return this.#allocations.pollCommand();
  }

  get stats(): TurnStats {
    return {
      allocations: this.#allocations.size,
      relayedPackets: this.#relayedPackets,
      relayedBytes: this.#relayedBytes,
    };
  }

  /** The way of nearly every packet: a few table look-ups, no parsing beyond 4 bytes, no copy. */
  #handleChannelData(now: Millis, socket: SocketId, from: SocketAddress, data: Uint8Array): void {
    const allocation = this.#allocations.of(now, socket, from);
    if (!allocation) return this.counters.add("no-allocation");
    const channel = allocation.channel(now, channelNumberOf(data));
    if (!channel) return this.counters.add("no-channel");
    if (!allocation.hasPermission(now, channel.peer.ip)) return this.counters.add("no-permission");
    if (!this.#isAllowed(allocation, channel)) return this.counters.add("denied-peer");
    this.#toPeer(now, allocation, channel.peer, channelPayload(data));
  }

  #handleSend(now: Millis, socket: SocketId, from: SocketAddress, message: StunMessage): void {
    const allocation = this.#allocations.of(now, socket, from);
    if (!allocation) return this.counters.add("no-allocation");
    const peer = getXorAddress(message, STUN_ATTRIBUTE.XOR_PEER_ADDRESS);
    const data = getBytes(message, STUN_ATTRIBUTE.DATA);
    if (!peer || !data || unknownComprehensionRequired(message, SEND_KNOWN).length > 0) {
      return this.counters.add("malformed");
    }
    if (!allocation.hasPermission(now, peer.ip)) return this.counters.add("no-permission");
    if (this.#policy.denyPeer(allocation.owner, peer)) return this.counters.add("denied-peer");
    this.#toPeer(now, allocation, peer, data);
  }

  #toPeer(now: Millis, allocation: Allocation, peer: SocketAddress, data: Uint8Array): void {
    if (allocation.state.kind !== "live") return this.counters.add("no-allocation");
    const neighbour = peer.ip === this.#relayedIp ? this.#allocations.ofPort(peer.port) : undefined;
    if (neighbour) return this.#toClient(now, neighbour, allocation.state.relayed, data);
    if (!allocation.account.takeRelayed(now, data.length)) return this.counters.add("quota");
    this.#transmit(data, allocation.state.socket, peer);
    this.#countRelayed(data);
  }

  #toClient(now: Millis, allocation: Allocation, from: SocketAddress, data: Uint8Array): void {
    if (allocation.state.kind !== "live" || allocation.expiresAt <= now) return this.counters.add("no-allocation");
    if (!allocation.hasPermission(now, from.ip)) return this.counters.add("no-permission");
    const channel = allocation.channelTo(now, from);
    const allowed = channel
      ? this.#isAllowed(allocation, channel)
      : this.#policy.denyPeer(allocation.owner, from) === null;
    if (!allowed) return this.counters.add("denied-peer");
    if (data.length > MAX_UDP_PAYLOAD - (channel ? CHANNEL_DATA_HEADER_BYTES : DATA_INDICATION_OVERHEAD)) {
      return this.counters.add("too-long");
    }
    if (!allocation.account.takeRelayed(now, data.length)) return this.counters.add("quota");
    const framed = channel ? this.#framer.frame(channel.number, data) : dataIndication(from, data, this.#random);
    this.#transmit(framed, allocation.clientSocket, allocation.client);
    this.#countRelayed(data);
  }

  /** The policy's answer for a channel, asked again only when it may have changed. */
  #isAllowed(allocation: Allocation, channel: Channel): boolean {
    if (channel.checkedAtVersion !== this.#policy.version) {
      channel.checkedAtVersion = this.#policy.version;
      channel.allowed = this.#policy.denyPeer(allocation.owner, channel.peer) === null;
    }
    return channel.allowed;
  }

  #countRelayed(data: Uint8Array): void {
    this.#relayedPackets++;
    this.#relayedBytes += data.length;
  }

  #transmit(data: Uint8Array, socket: SocketId, to: SocketAddress): void {
    if (this.#transmits.length - this.#nextTransmit >= MAX_QUEUE) return this.counters.add("queue-full");
    this.#transmits.push({ data, socket, to });
  }
}

/** Header (20), XOR-PEER-ADDRESS for IPv6 (24), DATA's header and padding (4 + 3). */
const DATA_INDICATION_OVERHEAD = 51;

/** RFC 8656 §11.4 */
function dataIndication(from: SocketAddress, data: Uint8Array, random: Random): Uint8Array {
  return new StunBuilder("indication", STUN_METHOD.DATA, random.bytes(12), data.length + DATA_INDICATION_OVERHEAD)
    .xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, from)
    .add(STUN_ATTRIBUTE.DATA, data)
    .build();
}

/** The framer's memory, at first and at most: the latter holds what a driver sends in one turn as a rule. */
const FIRST_SLAB_BYTES = 65_536;
const MAX_SLAB_BYTES = 1_048_576;

/** Puts ChannelData headers before payloads, in memory that is used again when the driver has sent it. */
class Framer {
  #slab = new Uint8Array(FIRST_SLAB_BYTES);
  #used = 0;

  frame(channel: number, payload: Uint8Array): Uint8Array {
    const length = CHANNEL_DATA_HEADER_BYTES + payload.length;
    if (this.#used + length > this.#slab.length) {
      // The views handed out keep the old slab alive.
      this.#slab = new Uint8Array(Math.max(length, Math.min(MAX_SLAB_BYTES, this.#slab.length * 2)));
      this.#used = 0;
    }
    const out = this.#slab.subarray(this.#used, this.#used + length);
    this.#used += length;
    writeChannelHeader(out, channel, payload.length);
    out.set(payload, CHANNEL_DATA_HEADER_BYTES);
    return out;
  }

  reuse(): void {
    this.#used = 0;
  }
}
