/** Which IP addresses the relay tells its clients, and why. */
import { AditError, classifyIp, formatIp, type IpClass, type IpFamily, parseIp, type SocketAddress } from "@adit/core";
import { localAddresses } from "@adit/transport";
import { SystemInterfaces } from "@adit/transport/internal";
import type { RelayedIp } from "./relay-ports.ts";

export class RelayAddressError extends AditError {
  override readonly code = "bad-relay-address";
}

export interface RelayAddress extends RelayedIp {
  /** A sentence for the log. */
  readonly reason: string;
  /** Whether somebody should look at it. */
  readonly doubtful: boolean;
}

/**
 * The relayed addresses: one for each family that `--stun` listens on, and for each that `--external-ip` names. XOR-RELAYED-ADDRESS
 * has to carry one address that clients' peers can send to: the external one, else the listening one. A wildcard socket has none of
 * its own, so then the host's best one is taken: a public one before a private one, and loopback last of all.
 * @throws RelayAddressError when a family has two external addresses, or the host has no address of it at all.
 */
export function chooseRelayAddresses(
  listen: readonly SocketAddress[],
  externalIps: readonly string[],
  hostIps?: readonly string[],
): readonly RelayAddress[] {
  const out: RelayAddress[] = [];
  for (const family of [4, 6] as const) {
    const [external, second] = externalIps.filter((ip) => familyOf(ip) === family);
    if (second !== undefined) {
      throw new RelayAddressError(
        `--external-ip ${external} and --external-ip ${second}: one IPv${family} address is enough`,
      );
    }
    const listening = listen.find((address) => address.family === family);
    if (external !== undefined) {
      const reason = `relayed addresses are on ${external} (--external-ip)`;
      out.push({ family, bindIp: listening?.ip ?? WILDCARD[family], relayedIp: external, reason, doubtful: false });
    } else if (listening) {
      out.push(chooseOwn(listening, hostIps ?? localAddresses({ family, includeLoopback: true }).map(({ ip }) => ip)));
    }
  }
  return out;
}

const WILDCARD = { 4: "0.0.0.0", 6: "::" } as const;

const familyOf = (ip: string): IpFamily => (parseIp(ip)?.length === 4 ? 4 : 6);

function chooseOwn({ family, ip, key }: SocketAddress, hostIps: readonly string[]): RelayAddress {
  const kind = classifyIp(ip);
  const of = (relayedIp: string, is: IpClass, why: string) => ({ family, bindIp: ip, relayedIp, ...describe(is, why) });
  if (kind !== "unspecified") return of(ip, kind, `relayed addresses are on ${ip} (--stun)`);
  const best = [...hostIps].sort((a, b) => rank(a) - rank(b))[0];
  if (best === undefined) {
    throw new RelayAddressError(`this host has no IPv${family} address to relay from; give one with --external-ip`);
  }
  const why = `--stun ${key} listens on every address, so relayed addresses are on ${best}, the best this host has`;
  return of(best, classifyIp(best), why);
}

function describe(kind: IpClass, why: string): Pick<RelayAddress, "reason" | "doubtful"> {
  if (kind === "public") return { reason: why, doubtful: false };
  const hint = "peers outside do not reach it; give the public one with --external-ip";
  return { reason: kind === "loopback" ? why : `${why}; it is ${kind}: ${hint}`, doubtful: kind !== "loopback" };
}

/** Of what a host can have, the best first. */
const ORDER: readonly IpClass[] = ["public", "private", "reserved", "link-local", "loopback"];

function rank(ip: string): number {
  return ORDER.indexOf(classifyIp(ip));
}

const system = new SystemInterfaces();

/** Every IP address of this host, for the relay to keep away from: containers' bridges and all. Those of before where no descriptor is left to ask with. */
export function hostAddresses(): string[] {
  const out = new Set<string>();
  for (const addresses of Object.values(system.current())) {
    for (const { address } of addresses ?? []) {
      const bytes = parseIp(address.replace(/%.*$/, ""));
      if (bytes) out.add(formatIp(bytes));
    }
  }
  return [...out];
}
