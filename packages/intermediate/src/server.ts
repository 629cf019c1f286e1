/** The intermediate as a whole: its sockets, a driver, signaling and relay on it. */

import { createHash } from "node:crypto";
import type { TLSSocket } from "node:tls";
import {
  type Clock,
  type IpFamily,
  type Logger,
  type Millis,
  monotonicClock,
  nullLogger,
  type Random,
  SocketAddress,
  type SocketId,
  systemRandom,
  utf8,
} from "@adit/core";
import type { Identity } from "@adit/quic";
import { canSendUnfragmented, Driver, type Incoming } from "@adit/transport";
import { type AccessPolicy, OPEN_POLICY } from "./access-policy.ts";
import { Accounts, type UsageStore } from "./accounts.ts";
import { Credentials } from "./credentials.ts";
import type { NameStore } from "./names/name-store.ts";
import { chooseRelayAddresses, hostAddresses, type RelayAddress } from "./relay-address.ts";
import { RelayComponent } from "./relay-component.ts";
import { type Prefix, RelayPolicy } from "./relay-policy.ts";
import { SignalingServer } from "./signaling-server.ts";
import { sparingLog } from "./sparing-log.ts";
import { type BoundUdp, openStunListeners, type StunListeners } from "./stun-listeners.ts";
import { TurnServer } from "./turn-server.ts";

export interface IntermediateOptions {
  readonly identity: Identity;
  /** Where signaling (QUIC) listens; at least one. */
  readonly listen: readonly SocketAddress[];
  /** Where it listens for TLS on TCP, which TURN shares; beside `listen`, on the TCP ports of the same numbers, unless given. */
  readonly signalingTls?: readonly SocketAddress[] | undefined;
  /** Where STUN and TURN listen, UDP and TCP, at least one; other ports than `listen`'s. There are relayed addresses of each family. */
  readonly stun: readonly SocketAddress[];
  /** The same over TLS. */
  readonly stunTls?: readonly SocketAddress[] | undefined;
  /** For TLS, PEM; the identity's own, self-signed, unless given. */
  readonly tlsCertificate?: { readonly cert: string; readonly key: string } | undefined;
  /** A second IP of this host for NAT behaviour discovery (RFC 5780). */
  readonly alternateAddress?: string | undefined;
  /** The IPs in relayed addresses, where they are not what `stun` is bound to: one of a family at most. */
  readonly externalIps?: readonly string[] | undefined;
  /** Both included. */
  readonly relayPorts: { readonly first: number; readonly last: number };
  readonly allowPrivateRelay?: boolean | undefined;
  readonly relayAllow?: readonly Prefix[] | undefined;
  readonly relayDeny?: readonly Prefix[] | undefined;
  /** Where foreign TURN clients are sent while this one drains. */
  readonly alternateServers?: readonly SocketAddress[] | undefined;
  /** Which keys may use it at all; everybody unless given. */
  readonly allow?: ReadonlySet<string> | undefined;
  /** Who owns which name; forgotten at the end of the process unless given. The caller closes it. */
  readonly names?: NameStore | undefined;
  /** Where the bytes relayed in a day are kept; in memory alone unless given. */
  readonly usage?: UsageStore | undefined;
  /** Who may register and connect, and how much; asked each time, so that it may change. */
  readonly policy?: (() => AccessPolicy) | undefined;
  /** Further sockets of this program that no relayed packet may reach. */
  readonly otherServices?: readonly SocketAddress[];
  readonly realm: string;
  readonly turnUsers?: readonly { readonly name: string; readonly password: string }[] | undefined;
  readonly turnSecrets?: readonly string[] | undefined;
  readonly log?: Logger;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** Sessions send something at least every 5 s (consent, RFC 7675), on the relay too: silence of twice that is the end of all of them. */
const DRAIN_QUIET_MS = 10_000;
const DRAIN_POLL_MS = 50;

/** How often this host's addresses are looked at: the relay keeps away from them. */
const ADDRESS_WATCH_MS = 10_000;

interface Parts {
  readonly identity: Identity;
  readonly stun: StunListeners;
  readonly relayAddresses: readonly RelayAddress[];
  readonly signaling: SignalingServer;
  readonly turn: TurnServer;
  readonly accounts: Accounts;
  readonly policy: RelayPolicy;
  readonly driver: Driver;
  readonly clock: Clock;
}

export class Intermediate {
  readonly identity: Identity;
  /** Bound, with the ports that port 0 became. */
  readonly stun: StunListeners;
  readonly relayAddresses: readonly RelayAddress[];
  readonly signaling: SignalingServer;
  readonly turn: TurnServer;
  readonly accounts: Accounts;
  readonly driver: Driver;
  readonly clock: Clock;
  readonly #watch: ReturnType<typeof setInterval>;
  #open = true;
  #draining = false;

  private constructor(parts: Parts) {
    this.identity = parts.identity;
    this.stun = parts.stun;
    this.relayAddresses = parts.relayAddresses;
    this.signaling = parts.signaling;
    this.turn = parts.turn;
    this.accounts = parts.accounts;
    this.driver = parts.driver;
    this.clock = parts.clock;
    this.#watch = setInterval(() => parts.policy.setOwnIps(hostAddresses()), ADDRESS_WATCH_MS);
    this.#watch.unref();
  }

  /**
   * Binds and serves.
   * @throws UdpBindError when an address cannot be bound; RelayAddressError `bad-relay-address`; StunListenError `bad-stun-listener`.
   */
  static async start(options: IntermediateOptions): Promise<Intermediate> {
    const { clock = monotonicClock } = options;
    const log = sparingLog(options.log ?? nullLogger, clock);
    const driver = new Driver({ clock, log });
    try {
      return new Intermediate(await bindAndBuild(options, driver, clock, log));
    } catch (error) {
      driver.close();
      throw error;
    }
  }

  /** The first of those that signaling listens on. */
  get signalingAddress(): SocketAddress {
    return (this.stun.signaling[0] as BoundUdp).address;
  }

  /** The first of them. */
  get stunAddress(): SocketAddress {
    return this.stun.udp[0].address;
  }

  /** Whether this system could have sockets that are read all together, and does not let this process have them. */
  get lacksOwnSockets(): boolean {
    const couldHave = process.platform === "linux" && process.versions.bun !== undefined;
    return couldHave && this.driver.socket(this.stun.udp[0].socket)?.lends !== true;
  }

  get isListening(): boolean {
    return this.#open;
  }

  get isDraining(): boolean {
    return this.#draining;
  }

  /** Shows another TLS certificate from now on. */
  setTlsCertificate(certificate: { readonly cert: string; readonly key: string }): void {
    for (const listener of this.stun.streams) listener.setCertificate(certificate);
  }

  /** Names were released or transferred by an operator. */
  handleNamesChanged(): void {
    if (this.#open) this.signaling.handleNamesChanged(this.clock.now());
  }

  /**
   * Takes nothing new, tells all clients to go, and relays on for those that stand. Resolves when nobody has used the relay for
   * {@link DRAIN_QUIET_MS}, after `limitMs` at the latest, or when `signal` says so.
   */
  async drain(limitMs: number, signal?: AbortSignal): Promise<"quiet" | "limit" | "aborted"> {
    this.#draining = true;
    this.signaling.beginDrain(this.clock.now());
    this.turn.beginDrain();
    const end = this.clock.now() + limitMs;
    let [relayed, quietSince] = [this.turn.stats.relayedPackets, this.clock.now()];
    while (this.turn.stats.allocations > 0) {
      if (signal?.aborted) return "aborted";
      const now = this.clock.now();
      if (now >= end) return "limit";
      if (this.turn.stats.relayedPackets !== relayed) [relayed, quietSince] = [this.turn.stats.relayedPackets, now];
      else if (now - quietSince >= DRAIN_QUIET_MS) return "quiet";
      await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
    }
    return "quiet";
  }

  /** Says goodbye to all clients, ends every allocation, closes the sockets. Idempotent. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    clearInterval(this.#watch);
    this.signaling.shutdown(this.clock.now());
    this.turn.close();
    this.driver.close(); // its last turn sends the goodbyes
  }
}

async function bindAndBuild(options: IntermediateOptions, driver: Driver, clock: Clock, log: Logger): Promise<Parts> {
  const dontFragment = await canSendUnfragmented();
  const { identity, allow, random = systemRandom, names, policy: access = () => OPEN_POLICY } = options;
  const accounts = new Accounts({ limits: () => access().limits, usage: options.usage });
  // What is received before the state machines stand is dropped; there is no await in between.
  let signaling: SignalingServer | null = null;
  let turn: TurnServer | null = null;
  const { listen, stun: stunUdp, stunTls, alternateAddress: alternateIp } = options;
  const own = { cert: identity.certificatePem, key: identity.keyPem };
  const listeners = {
    stun: stunUdp,
    stunTls,
    alternateIp,
    certificate: options.tlsCertificate ?? own,
    takeTlsHandshake: (from: SocketAddress) => signaling?.entrance.takeTlsHandshake(clock.now(), from) ?? false,
    clock,
    signaling: {
      listen,
      tls: options.signalingTls ?? ("beside" as const),
      receive: (now: Millis, socket: SocketId, batch: readonly Incoming[]) => {
        for (const { from, data } of batch) signaling?.entrance.handleDatagram(now, from, data, socket);
      },
      door: {
        identity: own,
        take: (socket: TLSSocket, from: SocketAddress) => {
          if (signaling) signaling.handleTls(socket, from);
          else socket.destroy();
        },
      },
    },
  };
  const stun = await openStunListeners(driver, listeners, () => turn);
  const stunAddresses = stun.udp.map(({ address }) => address);
  const relayAddresses = chooseRelayAddresses(stunAddresses, options.externalIps ?? []);
  const credentials = new Credentials({
    realm: options.realm,
    random,
    unixSeconds: () => Date.now() / 1000,
    users: options.turnUsers ?? [],
    secrets: options.turnSecrets,
  });
  const policy = new RelayPolicy({
    allowPrivate: options.allowPrivateRelay ?? false,
    allow: options.relayAllow ?? [],
    deny: options.relayDeny ?? [],
    relayedIps: relayAddresses.map(({ relayedIp }) => relayedIp),
    ownIps: hostAddresses(),
    services: [...stun.all, ...(options.otherServices ?? [])],
    isLive: (address) => turn?.isLive(address) ?? false,
    isSessionPeer: (peerId, ip) => signaling?.rendezvous.isSessionPeer(peerId, ip) ?? false,
  });
  turn = new TurnServer({
    socket: stun.udp[0].socket,
    discovery: stun.discovery,
    relayed: relayAddresses,
    dontFragment,
    alternates: options.alternateServers ?? [],
    ports: options.relayPorts,
    credentials,
    policy,
    accounts,
    random,
    log,
  });
  signaling = new SignalingServer({
    identity,
    sockets: stun.signaling,
    admit: (peerId) => allow === undefined || allow.has(peerId),
    credentials,
    turnAddress: (family) => turnAddress(family, stun, options.externalIps ?? []),
    onSessionsChanged: () => policy.invalidate(),
    names,
    policy: access,
    accounts,
    resetKey: resetKey(identity),
    wake: () => driver.wake(),
    random,
    log,
  });
  driver.add(signaling);
  driver.add(new RelayComponent(turn, driver, log));
  return { identity, stun, relayAddresses, signaling, turn, accounts, policy, driver, clock };
}

/** Ed25519 signatures are deterministic: the same key for the same identity, without another file to keep (RFC 9000 §10.3.2). */
function resetKey(identity: Identity): Uint8Array {
  return createHash("sha256")
    .update(identity.sign(utf8("adit stateless reset key 1")))
    .digest();
}

const UNSPECIFIED = { 4: "0.0.0.0", 6: "::" } as const;

/**
 * Where clients of a family are told to find TURN. The unspecified IP stands for the one that they reach signaling at: behind a 1:1 NAT, or
 * on a wildcard socket, only they know it.
 */
function turnAddress(
  family: IpFamily,
  { udp, signaling }: StunListeners,
  externalIps: readonly string[],
): SocketAddress {
  const { address: near } = udp.find(({ address }) => address.family === family) ?? udp[0];
  const theirs = signaling.filter(({ address }) => address.family === family);
  if (theirs.every(({ address }) => address.ip === near.ip))
    return SocketAddress.of(UNSPECIFIED[near.family], near.port);
  const external = externalIps.find((ip) => SocketAddress.of(ip, 0).family === near.family);
  return SocketAddress.of(external ?? near.ip, near.port);
}
