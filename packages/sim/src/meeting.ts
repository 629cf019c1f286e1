import { canConnectDirectly, composeNats, type NatKind } from "./oracle.ts";

/** A host's way to the internet, or to the NAT that it shares with its peer. */
export interface WayOut {
  /** Its own NATs, the outermost first; none: nothing stands in the way. */
  readonly nats: readonly NatKind[];
  /** Whether datagrams get out at all. */
  readonly udp: boolean;
  /** It has an IPv6 address, which no NAT translates: at most a stateful firewall is in front of it. */
  readonly ipv6?: boolean;
  /** False: it has IPv6 alone. */
  readonly ipv4?: boolean;
  /** Those of its NATs that map each destination anew count their ports up, and the rest keeps them: the next ones can be predicted. */
  readonly countsPorts?: boolean;
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
 *
 * Ports that can be predicted are as good as an independent mapping, as long as the other side's mapping is independent: else each
 * guess of one side would use up ports of the other's.
 */
export function canMeetDirectly(a: WayOut, b: WayOut, common: CommonNat | null): boolean {
  if (!a.udp || !b.udp) return false;
  if (a.ipv6 && b.ipv6) return true;
  if (a.ipv4 === false || b.ipv4 === false) return false;
  if (!common) return reaches(a, b, []);
  if (!common.isolated && (a.nats.length === 0 || b.nats.length === 0)) return true;
  return common.hairpin && reaches(a, b, [common]);
}

function reaches(a: WayOut, b: WayOut, outside: readonly NatKind[]): boolean {
  const [one, two] = [composeNats([...outside, ...a.nats]), composeNats([...outside, ...b.nats])];
  const independent = (nat: NatKind | null) => nat === null || nat.mapping === "EIM";
  return (
    canConnectDirectly(one, two) ||
    (a.countsPorts === true && independent(two)) ||
    (b.countsPorts === true && independent(one))
  );
}
