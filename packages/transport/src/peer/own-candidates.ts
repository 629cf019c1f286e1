import { SocketAddress, type SocketId } from "@adit/core";
import type { LocalCandidateInit } from "@adit/ice";
import { localAddresses } from "../interfaces.ts";

export interface BoundSocket {
  readonly id: SocketId;
  readonly address: SocketAddress;
}

export const isWildcard = (address: SocketAddress): boolean => address.ip === "0.0.0.0" || address.ip === "::";

/** What this program can be reached at: its interfaces, the addresses that its intermediates saw, its relays. */
export function ownCandidates(
  sockets: readonly BoundSocket[],
  reflexive: readonly SocketAddress[],
  relayed: readonly LocalCandidateInit[],
): LocalCandidateInit[] {
  const candidates: LocalCandidateInit[] = [];
  for (const { id, address } of sockets) {
    const hosts = hostAddresses(address);
    for (const host of hosts) candidates.push({ type: "host", address: host, socket: id });
    const base = hosts[0];
    if (!base) continue;
    for (const observed of reflexive) {
      if (observed.family !== address.family || hosts.some((host) => host.equals(observed))) continue;
      // A server-reflexive candidate for free: the QUIC connection to the intermediate leaves from the same socket.
      candidates.push({ type: "srflx", address: observed, base, related: base, socket: id });
    }
  }
  return [...candidates, ...relayed];
}

/** Whether something of that family can be sent at all. */
export const hasAddress = (sockets: readonly BoundSocket[], family: 4 | 6): boolean =>
  sockets.some(({ address }) => address.family === family && hostAddresses(address).length > 0);

/** Of a wildcard socket, one per interface address; loopback only where somebody bound to it. */
function hostAddresses(bound: SocketAddress): readonly SocketAddress[] {
  if (!isWildcard(bound)) return [bound];
  return localAddresses({ family: bound.family }).map(({ ip }) => SocketAddress.of(ip, bound.port));
}
