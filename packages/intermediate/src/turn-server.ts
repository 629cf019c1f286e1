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
 * - A port that is kept for a RESERVATION-TOKEN is kept from other allocations, not from other programs: it is bound when it is asked for.
 * - An ICMP error is passed on where it is plain which peer it is about: the runtimes do not say, so an allocation that sent to another
 *   peer within the last 5 s gets none. Error data is 0.
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
  hasAttribute,
  isLegacyChannelData,
  STUN_ATTRIBUTE,
  STUN_METHOD,
  type StunMessage,
  unknownComprehensionRequired,
  verifyFingerprint,
} from "@adit/ice";
import { type Account, Accounts } from "./accounts.ts";
import type { Allocation, Channel, RelayId } from "./allocation.ts";
import {
  type AllocationRefusal,
  AllocationTable,
  TURN_LIMITS,
  type TurnCommand,
  type TurnLimits,
} from "./allocation-table.ts";
import type { Credentials } from "./credentials.ts";
import { DATA_INDICATION_OVERHEAD, dataIndication, Framer } from "./framer.ts";
import { icmpIndication } from "./icmp.ts";
import type { RelayPolicy } from "./relay-policy.ts";
import type { RelayedIp } from "./relay-ports.ts";
import { SourceRates } from "./source-rates.ts";
import { BindingServer, type DiscoverySocket } from "./stun-server.ts";
import { TurnRequests } from "./turn-requests.ts";

export interface TurnServerOptions {
  /** The socket that clients talk to, or the first of several. */
  readonly socket: SocketId;
  /** RFC 5780: the four UDP sockets, {@link socket} among them. */
  readonly discovery?: readonly DiscoverySocket[];
  /** The IP addresses of relayed addresses: one, or one of each family. */
  readonly relayed: readonly RelayedIp[];
  /** `--relay-ports`, both included. */
  readonly ports: { readonly first: number; readonly last: number };
  readonly credentials: Credentials;
  readonly policy: RelayPolicy;
  readonly random: Random;
  /** Whether relay sockets can set the DF bit (DONT-FRAGMENT); without it the attribute is unknown (420). */
  readonly dontFragment?: boolean;
  /** Where foreign clients are sent while this server drains (ALTERNATE-SERVER). */
  readonly alternates?: readonly SocketAddress[];
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
  | "challenge-rate"
  | "icmp"
  | "queue-full";

export interface TurnStats {
  readonly allocations: number;
  readonly relayedPackets: number;
  /** Payload bytes that were passed on, both directions. */
  readonly relayedBytes: number;
  readonly toPeers: Relayed;
  readonly toClients: Relayed;
}

/** What was passed on in one direction. Between two allocations of this server it counts once, as sent to a client. */
export interface Relayed {
  readonly packets: number;
  /** Of payload. */
  readonly bytes: number;
}

/** Datagrams waiting for the driver, which drains after each batch of at most 512; past it they are dropped, as a network would. */
const MAX_QUEUE = 8192;

/** The longest UDP payload over IPv4. */
const MAX_UDP_PAYLOAD = 65_507;

const SEND_KNOWN: ReadonlySet<number> = new Set([
  STUN_ATTRIBUTE.XOR_PEER_ADDRESS,
  STUN_ATTRIBUTE.DATA,
  STUN_ATTRIBUTE.DONT_FRAGMENT,
]);

/** Refusals to strangers at once, in seconds' worth: all clients behind one address may come back together. */
const CHALLENGE_BURST_S = 10;

export class TurnServer {
  readonly counters = new Counters<TurnDrop>();
  readonly #socket: SocketId;
  readonly #dontFragment: boolean;
  readonly #policy: RelayPolicy;
  readonly #random: Random;
  readonly #log: Logger;
  readonly #allocations: AllocationTable;
  readonly #requests: TurnRequests;
  readonly #binding: BindingServer;
  readonly #framer = new Framer();
  #transmits: Transmit[] = [];
  #nextTransmit = 0;
  readonly #toPeers = { packets: 0, bytes: 0 };
  readonly #toClients = { packets: 0, bytes: 0 };

  constructor(options: TurnServerOptions) {
    const { log = nullLogger, policy, random, credentials, relayed, ports } = options;
    const { accounts = new Accounts(), dontFragment = false, alternates = [] } = options;
    const limits = { ...TURN_LIMITS, ...options.limits };
    const challenges = new SourceRates(random);
    this.#socket = options.socket;
    this.#binding = new BindingServer(options.discovery);
    this.#dontFragment = dontFragment;
    this.#policy = policy;
    this.#random = random;
    this.#log = log;
    this.#allocations = new AllocationTable({ relayed, ports, limits, accounts, policy, random, log });
    this.#requests = new TurnRequests({
      allocations: this.#allocations,
      credentials,
      policy,
      random,
      dontFragment,
      alternates,
      mayChallenge: (now, from) => {
        const { challengesPerIpPerSecond: rate } = accounts.limits;
        return challenges.take(now, from.ip, rate, rate * CHALLENGE_BURST_S);
      },
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
      if (response === "challenge-rate") return this.counters.add("challenge-rate");
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

  /** A datagram from a peer to a relayed address. */
  handleRelayDatagram(now: Millis, id: RelayId, from: SocketAddress, data: Uint8Array): void {
    const relay = this.#allocations.ofRelay(id);
    if (!relay) return this.counters.add("no-allocation");
    this.#toClient(now, relay.allocation, from, data, relay.allocation.account);
  }

  /** The system reported an ICMP error for something that was sent from a relayed address; `code` is the system's, as ECONNREFUSED. */
  handleRelayError(now: Millis, id: RelayId, code: string): void {
    const relay = this.#allocations.ofRelay(id);
    const peer = relay?.errorPeer(now);
    if (!relay || !peer || !relay.allocation.hasPermission(now, peer.ip)) return this.counters.add("icmp");
    const indication = icmpIndication(peer, code, this.#random);
    if (!indication) return this.counters.add("icmp");
    this.#transmit(indication, relay.allocation.clientSocket, relay.allocation.client);
  }

  /** The driver bound the socket that a `bind` command asked for. */
  handleBound(id: RelayId, socket: SocketId): void {
    const relay = this.#allocations.ofRelay(id);
    const ip = relay && this.#allocations.relayedIp(relay.family);
    if (!relay || ip === undefined || relay.bound) return this.#allocations.closeSocket(id);
    relay.bound = { address: SocketAddress.of(ip, relay.port), socket };
    this.#answerWhenBound(relay.allocation);
  }

  /** The driver could not. `portTaken`: another port may do. */
  handleBindFailed(now: Millis, id: RelayId, reason: string, portTaken: boolean): void {
    const relay = this.#allocations.ofRelay(id);
    if (!relay || relay.bound) return;
    if (portTaken && this.#allocations.tryNextPort(now, relay)) return;
    const { allocation, port } = relay;
    this.#log.warn("relay-bind-failed", { port, reason });
    if (allocation.state.kind === "binding" && allocation.relays.length === 1) {
      const response = this.#requests.allocateFailure(allocation.state.request);
      this.refusals.add("allocations");
      this.#allocations.remove(allocation, "bind-failed");
      return this.#transmit(response, allocation.clientSocket, allocation.client);
    }
    this.#allocations.dropRelay(relay, "bind-failed");
    this.#answerWhenBound(allocation);
  }

  #answerWhenBound(allocation: Allocation): void {
    if (allocation.state.kind !== "binding" || allocation.relays.some(({ bound }) => !bound)) return;
    const response = this.#requests.allocateSuccess(allocation, allocation.state.request);
    this.#allocations.setLive(allocation, response);
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

  /** Whether this is a relayed address of a live allocation: for the relay policy. */
  isLive(address: SocketAddress): boolean {
    return this.#allocations.relayAt(address) !== undefined;
  }

  /** Errors that were answered to TURN requests, by code. */
  get errors(): TurnRequests["errors"] {
    return this.#requests.errors;
  }

  /** Permissions and channels that were forbidden (403), by what the address is. */
  get denials(): TurnRequests["denials"] {
    return this.#requests.denials;
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
    const [toPeers, toClients] = [{ ...this.#toPeers }, { ...this.#toClients }];
    return {
      allocations: this.#allocations.size,
      relayedPackets: toPeers.packets + toClients.packets,
      relayedBytes: toPeers.bytes + toClients.bytes,
      toPeers,
      toClients,
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
    const dontFragment = hasAttribute(message, STUN_ATTRIBUTE.DONT_FRAGMENT);
    if (dontFragment && !this.#dontFragment) return this.counters.add("malformed");
    this.#toPeer(now, allocation, peer, data, dontFragment);
  }

  #toPeer(now: Millis, allocation: Allocation, peer: SocketAddress, data: Uint8Array, dontFragment = false): void {
    const relay = allocation.relayOf(peer.family);
    if (!relay?.bound) return this.counters.add("no-allocation");
    const neighbour = this.#allocations.relayAt(peer);
    // Whoever sends pays: a client must not use up another one's bytes of the day.
    if (neighbour) {
      allocation.sentBytes += data.length; // as into a socket, whatever becomes of it there
      return this.#toClient(now, neighbour.allocation, relay.bound.address, data, allocation.account);
    }
    if (!allocation.account.takeRelayed(now, data.length)) return this.counters.add("quota");
    allocation.sentBytes += data.length;
    relay.noteSent(now, peer);
    this.#transmit(data, relay.bound.socket, peer, dontFragment);
    this.#toPeers.packets++;
    this.#toPeers.bytes += data.length;
  }

  #toClient(now: Millis, allocation: Allocation, from: SocketAddress, data: Uint8Array, payer: Account): void {
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
    if (!payer.takeRelayed(now, data.length)) return this.counters.add("quota");
    const framed = channel ? this.#framer.frame(channel.number, data) : dataIndication(from, data, this.#random);
    this.#transmit(framed, allocation.clientSocket, allocation.client);
    allocation.receivedBytes += data.length;
    this.#toClients.packets++;
    this.#toClients.bytes += data.length;
  }

  /** The policy's answer for a channel, asked again only when it may have changed. */
  #isAllowed(allocation: Allocation, channel: Channel): boolean {
    if (channel.checkedAtVersion !== this.#policy.version) {
      channel.checkedAtVersion = this.#policy.version;
      channel.allowed = this.#policy.denyPeer(allocation.owner, channel.peer) === null;
    }
    return channel.allowed;
  }

  #transmit(data: Uint8Array, socket: SocketId, to: SocketAddress, dontFragment = false): void {
    if (this.#transmits.length - this.#nextTransmit >= MAX_QUEUE) return this.counters.add("queue-full");
    this.#transmits.push(dontFragment ? { data, socket, to, dontFragment } : { data, socket, to });
  }
}
