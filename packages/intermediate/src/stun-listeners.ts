/**
 * Where the intermediate listens: signaling (QUIC, and TLS on TCP), STUN and TURN (UDP, TCP beside it, TLS), and the three further UDP
 * sockets that NAT behaviour discovery needs. Signaling and TURN over TLS share their ports.
 */
import { AditError, type Clock, classifyIp, type Millis, SocketAddress, type SocketId } from "@adit/core";
import { isLegacyChannelData } from "@adit/ice";
import { type Driver, type Incoming, type Receive, UdpBindError } from "@adit/transport";
import { type SignalingDoor, type StreamLimits, StreamListener } from "./stream-listener.ts";
import type { DiscoverySocket } from "./stun-server.ts";

export class StunListenError extends AditError {
  override readonly code = "bad-stun-listener";
}

export interface StunListenOptions {
  /** UDP and TCP; at least one. */
  readonly stun: readonly SocketAddress[];
  readonly stunTls?: readonly SocketAddress[] | undefined;
  readonly signaling?: SignalingListenOptions | undefined;
  /** Whether that address may have another TLS handshake, with which it is charged then. */
  takeTlsHandshake?: ((from: SocketAddress) => boolean) | undefined;
  /** For TLS: PEM. */
  readonly certificate: Certificate;
  /** RFC 5780: a second IP address of this host, beside the first of {@link stun}. */
  readonly alternateIp?: string | undefined;
  readonly streamLimits?: Partial<StreamLimits> | undefined;
  readonly clock: Clock;
}

interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export interface SignalingListenOptions {
  /** For QUIC; at least one. */
  readonly listen: readonly SocketAddress[];
  /** For TLS, and for TURN over it as well; `beside`: the TCP ports of the same numbers as QUIC's. */
  readonly tls: readonly SocketAddress[] | "beside";
  readonly door: SignalingDoor;
  readonly receive: Receive;
}

/** The TURN server, which does not exist yet while sockets are bound. */
export interface StunSink {
  handleDatagram(now: Millis, from: SocketAddress, data: Uint8Array, socket: SocketId): void;
  handleClosed(now: Millis, from: SocketAddress, socket: SocketId): void;
  hasAllocation(now: Millis, from: SocketAddress, socket: SocketId): boolean;
}

export interface StunListeners {
  /** The UDP sockets that were asked for, in that order; TCP listens on the same addresses. */
  readonly udp: readonly [BoundUdp, ...BoundUdp[]];
  readonly tls: readonly SocketAddress[];
  /** For QUIC, in the order in which they were asked for. */
  readonly signaling: readonly BoundUdp[];
  readonly signalingTls: readonly SocketAddress[];
  /** For the Binding service: four, or none. */
  readonly discovery: readonly DiscoverySocket[];
  /** Every address that is listened on. */
  readonly all: readonly SocketAddress[];
  readonly streams: readonly StreamListener[];
}

/** A bound UDP socket. */
export interface BoundUdp {
  readonly socket: SocketId;
  readonly address: SocketAddress;
}

/** Binds all. @throws UdpBindError, StunListenError `bad-stun-listener`. */
export async function openStunListeners(
  driver: Driver,
  options: StunListenOptions,
  sink: () => StunSink | null,
): Promise<StunListeners> {
  const { stun, stunTls = [], alternateIp } = options;
  const [main, ...others] = stun;
  if (!main) throw new StunListenError("there is no address for STUN and TURN to listen on; give one with --stun");
  if (alternateIp !== undefined) checkAlternate(main, alternateIp);
  const receive = (now: Millis, socket: SocketId, batch: readonly Incoming[]): void => {
    const server = sink();
    if (server) for (const { from, data } of batch) server.handleDatagram(now, from, data, socket);
  };
  const receiveLent = (now: Millis, socket: SocketId, batch: readonly Incoming[]): void => {
    const server = sink();
    if (!server) return;
    // ChannelData is sent on within this turn; of anything else, parts may be kept.
    for (const { from, data } of batch) {
      server.handleDatagram(now, from, isLegacyChannelData(data) ? data : data.slice(), socket);
    }
  };
  const udp = async (address: SocketAddress, handle?: Receive): Promise<BoundUdp> => {
    const how = handle ? { receive: handle } : { receive: receiveLent, gathers: true };
    const socket = await driver.bind({ address, ...how });
    const bound = driver.socket(socket);
    if (!bound) throw new Error("the driver was closed while listeners were bound");
    return { socket, address: bound.address };
  };
  const streams: StreamListener[] = [];
  const stream = async (
    address: SocketAddress,
    tls?: Certificate,
    signaling?: SignalingDoor,
  ): Promise<SocketAddress> => {
    let id: SocketId | null = null;
    const { clock, streamLimits } = options;
    const listener = await StreamListener.listen({
      address,
      tls,
      signaling,
      takeHandshake: options.takeTlsHandshake,
      clock,
      ...(streamLimits ? { limits: streamLimits } : {}),
      hasAllocation: (from) => id !== null && (sink()?.hasAllocation(clock.now(), from, id) ?? false),
      onClosed: (from) => {
        if (id !== null) sink()?.handleClosed(clock.now(), from, id);
        driver.wake();
      },
    });
    id = driver.addSocket((handlers) => listener.attach(handlers), receive);
    streams.push(listener);
    return listener.address;
  };

  const signaling = options.signaling
    ? await bindSignaling(driver, options, options.signaling, udp, stream)
    : { udp: [], tls: [] };
  const { first } = await bindBoth(driver, main, udp, stream);
  const discovery = alternateIp === undefined ? [] : await bindDiscovery(first, alternateIp, udp);
  const bound: [BoundUdp, ...BoundUdp[]] = [first];
  for (const address of others) bound.push((await bindBoth(driver, address, udp, stream)).first);
  const { tls: signalingTls } = signaling;
  const tls: SocketAddress[] = [];
  for (const address of stunTls) {
    const shared = signalingTls.find((one) => one.equals(address));
    tls.push(shared ?? (await stream(address, options.certificate)));
  }
  const udpSockets = [...bound, ...discovery, ...signaling.udp];
  const all = [...new Set([...udpSockets.map(({ address }) => address), ...signalingTls, ...tls])];
  return { udp: bound, tls, signaling: signaling.udp, signalingTls, discovery, all, streams };
}

async function bindSignaling(
  driver: Driver,
  { certificate }: StunListenOptions,
  { listen, tls, door, receive }: SignalingListenOptions,
  bindUdp: (address: SocketAddress, receive: Receive) => Promise<BoundUdp>,
  bindTcp: (address: SocketAddress, tls: Certificate, door: SignalingDoor) => Promise<SocketAddress>,
): Promise<{ readonly udp: readonly BoundUdp[]; readonly tls: readonly SocketAddress[] }> {
  const overTls = (address: SocketAddress): Promise<SocketAddress> => bindTcp(address, certificate, door);
  const overQuic = (address: SocketAddress): Promise<BoundUdp> => bindUdp(address, receive);
  const bound = { udp: [] as BoundUdp[], tls: [] as SocketAddress[] };
  for (const address of listen) {
    if (tls !== "beside") {
      bound.udp.push(await overQuic(address));
      continue;
    }
    const { first, tcpAddress } = await bindBoth(driver, address, overQuic, overTls);
    bound.udp.push(first);
    bound.tls.push(tcpAddress);
  }
  if (tls !== "beside") for (const address of tls) bound.tls.push(await overTls(address));
  return bound;
}

/** With port 0, a port that the system gave for UDP may be taken for TCP: another one is drawn, so many times. */
const DRAWS = 8;

/** UDP and TCP on the same port. */
async function bindBoth(
  driver: Driver,
  address: SocketAddress,
  udp: (address: SocketAddress) => Promise<BoundUdp>,
  tcp: (address: SocketAddress) => Promise<SocketAddress>,
): Promise<{ readonly first: BoundUdp; readonly tcpAddress: SocketAddress }> {
  for (let draw = 1; ; draw++) {
    const first = await udp(address);
    try {
      return { first, tcpAddress: await tcp(first.address) };
    } catch (error) {
      driver.removeSocket(first.socket);
      const taken = error instanceof UdpBindError && error.code === "address-in-use";
      if (address.port !== 0 || !taken || draw === DRAWS) throw error;
    }
  }
}

async function bindDiscovery(
  first: BoundUdp,
  alternateIp: string,
  bind: (address: SocketAddress) => Promise<BoundUdp>,
): Promise<DiscoverySocket[]> {
  const { ip, port } = first.address;
  // RFC 5780 §6: the alternate port is the server's choice; the next one is what other servers take.
  const second = await bind(SocketAddress.of(ip, port === 65_535 ? port - 1 : port + 1));
  const third = await bind(SocketAddress.of(alternateIp, port));
  const fourth = await bind(SocketAddress.of(alternateIp, second.address.port));
  return [
    { ...first, ip: "primary", port: "primary" },
    { ...second, ip: "primary", port: "alternate" },
    { ...third, ip: "alternate", port: "primary" },
    { ...fourth, ip: "alternate", port: "alternate" },
  ];
}

/** An answer from "the same address" means nothing on a wildcard socket, which answers from wherever the route leads. */
function checkAlternate(stun: SocketAddress, alternateIp: string): void {
  const alternate = SocketAddress.of(alternateIp, 0);
  const wildcard = [stun.ip, alternate.ip].some((ip) => classifyIp(ip) === "unspecified");
  if (wildcard || alternate.family !== stun.family || alternate.ip === stun.ip) {
    throw new StunListenError(
      `--alternate-address ${alternateIp} needs --stun on another address of the same family, named and not the wildcard; it is ${stun.key}`,
    );
  }
}
