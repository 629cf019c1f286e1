/** Which IP address the relay tells its clients, and why. */
import { networkInterfaces } from "node:os";
import { AditError, classifyIp, formatIp, type IpClass, parseIp, type SocketAddress } from "@adit/core";
import { localAddresses } from "@adit/transport";

export class RelayAddressError extends AditError {
  override readonly code = "bad-relay-address";
}

export interface RelayAddress {
  readonly ip: string;
  /** A sentence for the log. */
  readonly reason: string;
  /** Whether somebody should look at it. */
  readonly doubtful: boolean;
}

/**
 * XOR-RELAYED-ADDRESS has to carry one address that clients' peers can send to: `--external-ip`, else the listening address. A
 * wildcard socket has none of its own, so then the host's best one is taken: a public one before a private one before loopback.
 * @throws RelayAddressError when the external address is of the wrong family, or the host has none at all.
 */
export function chooseRelayAddress(
  listen: SocketAddress,
  externalIp: string | null,
  hostIps: readonly string[] = localAddresses({ family: listen.family, includeLoopback: true }).map(({ ip }) => ip),
): RelayAddress {
  if (externalIp !== null) {
    const bytes = parseIp(externalIp);
    if ((bytes?.length === 4 ? 4 : 6) !== listen.family) {
      throw new RelayAddressError(
        `--external-ip ${externalIp} and --stun ${listen.key} are not of the same address family`,
      );
    }
    return { ip: externalIp, reason: `relayed addresses are on ${externalIp} (--external-ip)`, doubtful: false };
  }
  const kind = classifyIp(listen.ip);
  if (kind !== "unspecified") return describe(listen.ip, kind, `relayed addresses are on ${listen.ip} (--stun)`);
  const best = [...hostIps].sort((a, b) => rank(a) - rank(b))[0];
  if (best === undefined) {
    throw new RelayAddressError(
      `this host has no IPv${listen.family} address to relay from; give one with --external-ip`,
    );
  }
  const why = `--stun ${listen.key} listens on every address, so relayed addresses are on ${best}, the best this host has`;
  return describe(best, classifyIp(best), why);
}

function describe(ip: string, kind: IpClass, why: string): RelayAddress {
  if (kind === "public") return { ip, reason: why, doubtful: false };
  const hint = "peers outside do not reach it; give the public one with --external-ip";
  return { ip, reason: kind === "loopback" ? why : `${why}; it is ${kind}: ${hint}`, doubtful: kind !== "loopback" };
}

function rank(ip: string): number {
  const order: readonly IpClass[] = ["public", "private", "loopback"];
  const at = order.indexOf(classifyIp(ip));
  return at < 0 ? order.length : at;
}

/** Every IP address of this host, for the relay to keep away from: containers' bridges and all. */
export function hostAddresses(): string[] {
  const out = new Set<string>();
  for (const addresses of Object.values(networkInterfaces())) {
    for (const { address } of addresses ?? []) {
      const bytes = parseIp(address.replace(/%.*$/, ""));
      if (bytes) out.add(formatIp(bytes));
    }
  }
  return [...out];
}
