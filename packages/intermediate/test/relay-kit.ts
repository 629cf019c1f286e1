/** A TURN server on virtual time, with a client that writes its requests byte by byte as a test wants them. */
import { type Logger, nullLogger, SocketAddress, seededRandom, type Transmit } from "@adit/core";
import {
  decodeStun,
  getErrorCode,
  getNonce,
  longTermKey,
  STUN_ATTRIBUTE,
  STUN_METHOD,
  StunBuilder,
  type StunMessage,
  TRANSPORT_UDP,
  verifyIntegrity,
} from "@adit/ice";
import type { Accounts } from "../src/accounts.ts";
import type { TurnLimits } from "../src/allocation-table.ts";
import { Credentials } from "../src/credentials.ts";
import { RelayPolicy } from "../src/relay-policy.ts";
import { TurnServer } from "../src/turn-server.ts";

export const address = (text: string): SocketAddress => {
  const colon = text.lastIndexOf(":");
  return SocketAddress.of(text.slice(0, colon).replace(/[[\]]/g, ""), Number(text.slice(colon + 1)));
};

export const LISTEN = 0;
export const RELAY_IP = "198.41.0.4";
export const REALM = "adit";
export const CLIENT = address("8.8.4.4:5000");
export const PEER = address("9.9.9.9:7000");
/** Unix time when the virtual clock stands at 0. */
export const EPOCH_S = 1_800_000_000;

export interface RelayKitOptions {
  readonly allowPrivate?: boolean;
  readonly ports?: { readonly first: number; readonly last: number };
  readonly limits?: Partial<TurnLimits>;
  readonly accounts?: Accounts;
  readonly log?: Logger;
  readonly relayIp?: string;
  readonly bindIp?: string;
  /** There are relayed IPv6 addresses too. */
  readonly relayIp6?: string;
  readonly dontFragment?: boolean;
  readonly alternates?: readonly SocketAddress[];
  readonly seed?: number;
  /** Bind commands wait for {@link RelayKit.bindNext}. */
  readonly manualBind?: boolean;
}

export interface Sender {
  readonly from: SocketAddress;
  readonly username: string;
  readonly password: string;
}

export const ALICE = { username: "alice", password: "secret-of-alice" };
export const BOB = { username: "bob", password: "secret-of-bob" };
export const REST_SECRET = "shared";
export const OLD_REST_SECRET = "shared before";

export class RelayKit {
  now = 0;
  readonly server: TurnServer;
  readonly credentials: Credentials;
  readonly policy: RelayPolicy;
  /** `peerId|ip`: who may reach what. */
  readonly sessions = new Set<string>();
  /** What left towards clients and peers, when not taken by a request. */
  readonly sent: Transmit[] = [];
  readonly binds: { readonly relay: number; readonly address: SocketAddress }[] = [];
  readonly closed: number[] = [];
  readonly #nonces = new Map<string, string>();
  readonly #manualBind: boolean;
  #transaction = 0;

  constructor(options: RelayKitOptions = {}) {
    const relayedIp = options.relayIp ?? RELAY_IP;
    const random = seededRandom(options.seed ?? 1);
    this.#manualBind = options.manualBind ?? false;
    this.credentials = new Credentials({
      realm: REALM,
      random,
      unixSeconds: () => EPOCH_S + this.now / 1000,
      users: [ALICE, BOB].map(({ username, password }) => ({ name: username, password })),
      secrets: [REST_SECRET, OLD_REST_SECRET],
    });
    const relayed = [relayedIp, options.relayIp6].filter((ip) => ip !== undefined);
    this.policy = new RelayPolicy({
      allowPrivate: options.allowPrivate ?? false,
      relayedIps: relayed,
      ownIps: ["10.1.2.3"],
      services: [SocketAddress.of(relayedIp, 3478)],
      isLive: (address) => this.server.isLive(address),
      isSessionPeer: (peerId, ip) => this.sessions.has(`${peerId}|${ip}`),
    });
    this.server = new TurnServer({
      socket: LISTEN,
      relayed: relayed.map((ip) => ({
        family: SocketAddress.of(ip, 0).family,
        bindIp: options.bindIp ?? (ip === options.relayIp6 ? "::" : "10.1.2.3"),
        relayedIp: ip,
      })),
      ...(options.dontFragment ? { dontFragment: true } : {}),
      alternates: options.alternates ?? [],
      ports: options.ports ?? { first: 50_000, last: 50_999 },
      credentials: this.credentials,
      policy: this.policy,
      random,
      log: options.log ?? nullLogger,
      accounts: options.accounts,
      ...(options.limits ? { limits: options.limits } : {}),
    });
  }

  /** Moves the clock, timers included. */
  advance(ms: number): void {
    const end = this.now + ms;
    for (let next = this.server.pollTimeout(); next && next.at <= end; next = this.server.pollTimeout()) {
      this.now = Math.max(this.now, next.at);
      this.server.handleTimeout(this.now);
      this.pump();
    }
    this.now = end;
  }

  /** Does what a driver does. A relay's socket id is 100 + its number. */
  pump(): void {
    for (let command = this.server.pollCommand(); command; command = this.server.pollCommand()) {
      if (command.type === "close") this.closed.push(command.relay);
      else {
        this.binds.push(command);
        if (!this.#manualBind) this.server.handleBound(command.relay, 100 + command.relay);
      }
    }
    for (let transmit = this.server.pollTransmit(); transmit; transmit = this.server.pollTransmit()) {
      this.sent.push({ ...transmit, data: transmit.data.slice() });
    }
    this.server.flushed();
  }

  /** What was sent since the last call. */
  take(): Transmit[] {
    return this.sent.splice(0);
  }

  datagram(from: SocketAddress, data: Uint8Array): Transmit[] {
    this.server.handleDatagram(this.now, from, data);
    this.pump();
    return this.take();
  }

  fromPeer(relay: number, from: SocketAddress, data: Uint8Array): Transmit[] {
    this.server.handleRelayDatagram(this.now, relay, from, data);
    this.pump();
    return this.take();
  }

  transactionId(): Uint8Array {
    const id = new Uint8Array(12);
    new DataView(id.buffer).setUint32(8, ++this.#transaction);
    return id;
  }

  /** A signed request; the nonce is fetched first when there is none for this address. */
  bytes(
    sender: Sender,
    method: number,
    add: (builder: StunBuilder) => unknown = () => {},
    o: { transactionId?: Uint8Array; nonce?: string } = {},
  ): Uint8Array {
    const nonce = o.nonce ?? this.#nonces.get(sender.from.key) ?? this.challenge(sender.from);
    const builder = new StunBuilder("request", method, o.transactionId ?? this.transactionId());
    add(builder);
    return builder
      .string(STUN_ATTRIBUTE.USERNAME, sender.username)
      .string(STUN_ATTRIBUTE.REALM, REALM)
      .string(STUN_ATTRIBUTE.NONCE, nonce)
      .build({ key: longTermKey(sender.username, REALM, sender.password) });
  }

  /**
   * Sends a request and returns the one response, whose integrity is checked unless it is a challenge. A stale nonce is
   * replaced, unless the test chose it.
   */
  request(...args: Parameters<RelayKit["bytes"]>): StunMessage {
    const [sender, , , options] = args;
    const exchange = (): StunMessage => {
      const sent = this.datagram(sender.from, this.bytes(...args));
      const transmit = sent[0];
      if (sent.length !== 1 || !transmit) throw new Error(`${sent.length} datagrams came instead of one response`);
      if (!transmit.to.equals(sender.from) || transmit.socket !== LISTEN)
        throw new Error("the response went elsewhere");
      return this.read(sender, transmit.data);
    };
    const response = exchange();
    return outcome(response) === 438 && options?.nonce === undefined ? exchange() : response;
  }

  read(sender: Sender, data: Uint8Array): StunMessage {
    const response = decodeStun(data);
    if (!response) throw new Error("the response is not STUN");
    const code = getErrorCode(response)?.code;
    const nonce = getNonce(response);
    if (nonce) this.#nonces.set(sender.from.key, nonce);
    const unsigned = code === 401 || code === 438 || response.integrityOffset < 0;
    if (!unsigned && !verifyIntegrity(response, longTermKey(sender.username, REALM, sender.password))) {
      throw new Error("the response's integrity is wrong");
    }
    return response;
  }

  challenge(from: SocketAddress): string {
    const request = new StunBuilder("request", STUN_METHOD.ALLOCATE, this.transactionId()).build();
    const response = decodeStun(this.datagram(from, request)[0]?.data ?? new Uint8Array());
    const nonce = response && getNonce(response);
    if (!nonce) throw new Error("no nonce came");
    this.#nonces.set(from.key, nonce);
    return nonce;
  }

  allocate(sender: Sender, add: (builder: StunBuilder) => unknown = () => {}): StunMessage {
    return this.request(sender, STUN_METHOD.ALLOCATE, (builder) => add(udp(builder)));
  }

  permit(sender: Sender, ...peers: SocketAddress[]): StunMessage {
    return this.request(sender, STUN_METHOD.CREATE_PERMISSION, (builder) => {
      for (const peer of peers) builder.xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, peer);
    });
  }

  bind(sender: Sender, channel: number, peer: SocketAddress): StunMessage {
    return this.request(sender, STUN_METHOD.CHANNEL_BIND, (builder) =>
      builder.channelNumber(channel).xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, peer),
    );
  }

  refresh(sender: Sender, lifetimeS?: number): StunMessage {
    return this.request(sender, STUN_METHOD.REFRESH, (builder) => {
      if (lifetimeS !== undefined) builder.u32(STUN_ATTRIBUTE.LIFETIME, lifetimeS);
    });
  }
}

export const udp = (builder: StunBuilder): StunBuilder => builder.u8(STUN_ATTRIBUTE.REQUESTED_TRANSPORT, TRANSPORT_UDP);

/** "success", or the error code. */
export const outcome = (message: StunMessage): "success" | number | string =>
  message.class === "success" ? "success" : (getErrorCode(message)?.code ?? message.class);

export const alice = (from: SocketAddress = CLIENT): Sender => ({ from, ...ALICE });
export const bob = (from: SocketAddress = CLIENT): Sender => ({ from, ...BOB });

export function sendIndication(peer: SocketAddress, data: Uint8Array): Uint8Array {
  return new StunBuilder("indication", STUN_METHOD.SEND, new Uint8Array(12))
    .xorAddress(STUN_ATTRIBUTE.XOR_PEER_ADDRESS, peer)
    .add(STUN_ATTRIBUTE.DATA, data)
    .build();
}
