import { canConnectDirectly, composeNats, type NatKind } from "./oracle.ts";

/** A host's way to the internet, or to the NAT that it shares with its peer. */
export interface WayOut {
  /** Its own NATs, the outermost first; none: nothing stands in the way. */
  readonly nats: readonly NatKind[];
  /** Whether datagrams get out at all. */
  readonly udp: boolean;
  /** It has an IPv6 address, which no NAT translates: at most a stateful firewall is in front of it. */
  readonly ipv6?: boolean;
}

/** A NAT that both hosts are behind. */
export interface CommonNat extends NatKind {
  readonly hairpin: boolean;
  /** Those behind it do not reach each other by their internal addresses. */
  readonly isolated: boolean;
}

/**
 * Whether two hosts can exchange datagrams directly, as {@link canConnectDirectly} has it, when each tries all its candidates:
 * host, server-reflexive, peer-reflexive.
 *
 * Over IPv6 a stateful firewall maps nothing and lets in whom was sent to, which is EIM and APDF: always. Behind a common NAT
 * a host that has no other NAT in front is reached at its host candidate, unless hosts are kept apart; otherwise each has to
 * reach the other's external address from inside, which takes hairpinning.
 */
export function canMeetDirectly(a: WayOut, b: WayOut, common: CommonNat | null): boolean {
  if (!a.udp || !b.udp) return false;
  if (a.ipv6 && b.ipv6) return true;
  if (!common) return canConnectDirectly(composeNats(a.nats), composeNats(b.nats));
  if (!common.isolated && (a.nats.length === 0 || b.nats.length === 0)) return true;
  return common.hairpin && canConnectDirectly(composeNats([common, ...a.nats]), composeNats([common, ...b.nats]));
}
