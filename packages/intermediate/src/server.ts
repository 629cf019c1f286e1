/** The intermediate as a whole: two UDP sockets, a driver, signaling and relay on it. */
import {
  type Clock,
  type Logger,
  monotonicClock,
  nullLogger,
  type Random,
  SocketAddress,
  type SocketId,
  systemRandom,
} from "@adit/core";
import type { Identity } from "@adit/quic";
import { Driver, type Incoming } from "@adit/transport";
import { Credentials } from "./credentials.ts";
import { chooseRelayAddress, hostAddresses, type RelayAddress } from "./relay-address.ts";
import { RelayComponent } from "./relay-component.ts";
import { RelayPolicy } from "./relay-policy.ts";
import { SignalingServer } from "./signaling-server.ts";
import { TurnServer } from "./turn-server.ts";

export interface IntermediateOptions {
  readonly identity: Identity;
  /** Where signaling (QUIC) listens. */
  readonly listen: SocketAddress;
  /** Where STUN and TURN listen; another port than `listen`'s. */
  readonly stun: SocketAddress;
  /** The IP in relayed addresses, where it is not the one that `stun` is bound to. */
  readonly externalIp?: string | undefined;
  /** Both included. */
  readonly relayPorts: { readonly first: number; readonly last: number };
  readonly allowPrivateRelay?: boolean | undefined;
  /** Which keys may use it at all; everybody unless given. */
  readonly allow?: ReadonlySet<string> | undefined;
  /** Further sockets of this program that no relayed packet may reach. */
  readonly otherServices?: readonly SocketAddress[];
  readonly realm: string;
  readonly turnUsers?: readonly { readonly name: string; readonly password: string }[] | undefined;
  readonly turnSecret?: string | undefined;
  readonly log?: Logger;
  readonly clock?: Clock;
  readonly random?: Random;
}

interface Parts {
  readonly identity: Identity;
  readonly signalingAddress: SocketAddress;
  readonly stunAddress: SocketAddress;
  readonly relayAddress: RelayAddress;
  readonly signaling: SignalingServer;
  readonly turn: TurnServer;
  readonly driver: Driver;
  readonly clock: Clock;
}

export class Intermediate {
  readonly identity: Identity;
  /** Bound, with the ports that port 0 became. */
  readonly signalingAddress: SocketAddress;
  readonly stunAddress: SocketAddress;
  readonly relayAddress: RelayAddress;
  readonly signaling: SignalingServer;
  readonly turn: TurnServer;
  readonly driver: Driver;
  readonly clock: Clock;
  #open = true;

  private constructor(parts: Parts) {
    this.identity = parts.identity;
    this.signalingAddress = parts.signalingAddress;
    this.stunAddress = parts.stunAddress;
    this.relayAddress = parts.relayAddress;
    this.signaling = parts.signaling;
    this.turn = parts.turn;
    this.driver = parts.driver;
    this.clock = parts.clock;
  }

  /**
   * Binds and serves.
   * @throws UdpBindError when an address cannot be bound; RelayAddressError `bad-relay-address`.
   */
  static async start(options: IntermediateOptions): Promise<Intermediate> {
    const { log = nullLogger, clock = monotonicClock } = options;
    const driver = new Driver({ clock, log });
    try {
      return new Intermediate(await bindAndBuild(options, driver, clock, log));
    } catch (error) {
      driver.close();
      throw error;
    }
  }

  get isListening(): boolean {
    return this.#open;
  }

  /** Says goodbye to all clients, ends every allocation, closes the sockets. Idempotent. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.signaling.shutdown(this.clock.now());
    this.turn.close();
    this.driver.close(); // its last turn sends the goodbyes
  }
}

async function bindAndBuild(options: IntermediateOptions, driver: Driver, clock: Clock, log: Logger): Promise<Parts> {
  const { identity, allow, random = systemRandom } = options;
  // What is received before the state machines stand is dropped; there is no await in between.
  let signaling: SignalingServer | null = null;
  let turn: TurnServer | null = null;
  const signalingSocket = await driver.bind({
    address: options.listen,
    receive: (now, _socket, batch) => {
      for (const { from, data } of batch) signaling?.handleDatagram(now, from, data);
    },
  });
  const stunSocket = await driver.bind({
    address: options.stun,
    receive: (now: number, _socket: SocketId, batch: readonly Incoming[]) => {
      for (const { from, data } of batch) turn?.handleDatagram(now, from, data);
    },
  });
  const signalingAddress = boundAddress(driver, signalingSocket);
  const stunAddress = boundAddress(driver, stunSocket);
  const relayAddress = chooseRelayAddress(stunAddress, options.externalIp ?? null);
  const credentials = new Credentials({
    realm: options.realm,
    random,
    unixSeconds: () => Date.now() / 1000,
    users: options.turnUsers ?? [],
    secret: options.turnSecret,
  });
  const policy = new RelayPolicy({
    allowPrivate: options.allowPrivateRelay ?? false,
    relayedIp: relayAddress.ip,
    ownIps: hostAddresses(),
    services: [signalingAddress, stunAddress, ...(options.otherServices ?? [])],
    isLivePort: (port) => turn?.isLivePort(port) ?? false,
    isSessionPeer: (peerId, ip) => signaling?.rendezvous.isSessionPeer(peerId, ip) ?? false,
  });
  turn = new TurnServer({
    socket: stunSocket,
    bindIp: stunAddress.ip,
    relayedIp: relayAddress.ip,
    ports: options.relayPorts,
    credentials,
    policy,
    random,
    log,
  });
  signaling = new SignalingServer({
    identity,
    socket: signalingSocket,
    address: signalingAddress,
    admit: (peerId) => allow === undefined || allow.has(peerId),
    credentials,
    turnAddress: turnAddress(signalingAddress, stunAddress, options.externalIp),
    onSessionsChanged: () => policy.invalidate(),
    wake: () => driver.wake(),
    random,
    log,
  });
  driver.add(signaling);
  driver.add(new RelayComponent(turn, driver, log));
  return { identity, signalingAddress, stunAddress, relayAddress, signaling, turn, driver, clock };
}

const UNSPECIFIED = { 4: "0.0.0.0", 6: "::" } as const;

/**
 * Where clients are told to find TURN. The unspecified IP stands for the one that they reach signaling at: behind a 1:1 NAT, or on a
 * wildcard socket, only they know it.
 */
function turnAddress(signaling: SocketAddress, stun: SocketAddress, externalIp: string | undefined): SocketAddress {
  const ip = stun.ip === signaling.ip ? UNSPECIFIED[stun.family] : (externalIp ?? stun.ip);
  return SocketAddress.of(ip, stun.port);
}

function boundAddress(driver: Driver, socket: SocketId): SocketAddress {
  const bound = driver.sockets.get(socket);
  if (!bound) throw new Error("the driver was closed while the intermediate started");
  return bound.address;
}
