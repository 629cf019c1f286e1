import { SocketAddress } from "@adit/core";
import { type Datagram, type Nat, type NatBehavior, Network, type Realm, type SimSocket } from "../src/index.ts";

/** A socket that records what came, as `from -> text`. */
export interface Recorder {
  readonly socket: SimSocket;
  readonly got: { readonly from: SocketAddress; readonly text: string }[];
  say(text: string, to: SocketAddress | string): void;
  /** The texts, and forgets them. */
  texts(): string[];
}

export function recorder(network: Network, name: string, ip: string, port: number, realm?: Realm): Recorder {
  return listen(network, network.addHost(name, ip, realm ? { realm } : {}), port);
}

export function listen(_network: Network, host: ReturnType<Network["addHost"]>, port: number, ip?: string): Recorder {
  const got: Recorder["got"] = [];
  const onDatagram = ({ data, from }: Datagram) => got.push({ from, text: Buffer.from(data).toString() });
  const socket = host.bind(onDatagram, ip === undefined ? { port } : { port, ip });
  return {
    socket,
    got,
    say: (text, to) => socket.send(Buffer.from(text), typeof to === "string" ? at(to) : to),
    texts: () => got.splice(0).map(({ text }) => text),
  };
}

/** `ip:port`. */
export function at(text: string): SocketAddress {
  const colon = text.lastIndexOf(":");
  return SocketAddress.of(text.slice(0, colon), Number(text.slice(colon + 1)));
}

export interface NatLab {
  readonly network: Network;
  readonly nat: Nat;
  /** Behind the NAT: two hosts. */
  readonly x: Recorder;
  readonly other: Recorder;
  /** Outside: Y1 with two ports, and Y2. */
  readonly y1: Recorder;
  readonly y1b: Recorder;
  readonly y2: Recorder;
  /** Everything under way arrives. */
  settle(): void;
}

/** RFC 4787 §4.1's figure: X behind a NAT (198.51.100.1), Y1 and Y2 outside. */
export function natLab(behavior: Partial<NatBehavior>, externalIps: string | string[] = "198.51.100.1"): NatLab {
  const network = new Network({ seed: 7, link: { latencyMs: 1 } });
  const nat = network.addNat("nat", externalIps, behavior);
  const y1Host = network.addHost("y1", "203.0.113.1");
  return {
    network,
    nat,
    x: recorder(network, "x", "10.0.0.2", 5000, nat.inside),
    other: recorder(network, "other", "10.0.0.3", 5000, nat.inside),
    y1: listen(network, y1Host, 1000),
    y1b: listen(network, y1Host, 1001),
    y2: recorder(network, "y2", "203.0.113.2", 1000),
    settle: () => network.clock.advance(20),
  };
}
