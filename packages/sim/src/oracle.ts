import type { NatBehavior } from "./nat.ts";

/** What decides whether two peers can meet: how their NAT maps and filters. */
export type NatKind = Pick<NatBehavior, "mapping" | "filtering">;

/**
 * Whether two hosts, each behind its own NAT (null: a public address), can exchange datagrams directly when both keep sending
 * to the other's server-reflexive address and to every address that something of the other's came from (peer-reflexive), as
 * ICE does. It says what is possible at best on a network that loses nothing; an ICE agent has to match it.
 *
 * S is the reflexive address that a third party saw, M the mapping that a NAT makes towards the other side's S.
 *
 * - Both map endpoint-independently: M = S on both sides, and each side's sending opens its own filter. Always.
 * - One does (a), the other (b) does not: b's datagrams come to a's S from M, of which only the address is foreseeable. They
 *   are let in unless a filters by port; then a answers M, where b expects it. What a sends to b's S is of no help: b's answer
 *   comes from M again.
 * - Neither does: each sends from an M to the other's S, which was opened for the third party only. So one side, say b, must
 *   filter endpoint-independently to hear the other at all. b answers a's M from a new mapping of its own, same address, new
 *   port: a must not filter by port. a's next datagram must then find b's mapping, and b's next find a's: this settles when at
 *   least one of them maps by address only, else each answer comes from yet another port.
 *
 * Port prediction is not considered, nor UPnP, nor hosts behind the same NAT.
 */
export function canConnectDirectly(a: NatKind | null, b: NatKind | null): boolean {
  const [one, two] = [a ?? PUBLIC, b ?? PUBLIC];
  if (one.mapping === "EIM" && two.mapping === "EIM") return true;
  if (one.mapping === "EIM") return one.filtering !== "APDF";
  if (two.mapping === "EIM") return two.filtering !== "APDF";
  const settles = one.mapping === "ADM" || two.mapping === "ADM";
  return settles && (hears(one, two) || hears(two, one));
}

/**
 * What NATs in a row amount to, the outermost first; null for none. A mapping is as unforeseeable as the least foreseeable layer
 * makes it, and what comes in has to pass every filter: the stricter of each counts.
 *
 * With one exception. The permits of a layer that maps endpoint-independently hold for all of a socket's mappings further out. So
 * when only the outer layer has several, and lets everybody in, the inner ADF is no obstacle to a peer who answers from the
 * address that was sent to, whichever outer mapping it comes by.
 */
export function composeNats(layers: readonly NatKind[]): NatKind | null {
  const [outermost, ...inner] = layers;
  return outermost ? inner.reduce(compose, outermost) : null;
}

const MAPPINGS = ["EIM", "ADM", "APDM"] as const;
const FILTERINGS = ["EIF", "ADF", "APDF"] as const;

const stricter = <Kind>(order: readonly Kind[], a: Kind, b: Kind): Kind =>
  order.indexOf(a) > order.indexOf(b) ? a : b;

function compose(outer: NatKind, inner: NatKind): NatKind {
  const shared = outer.mapping !== "EIM" && inner.mapping === "EIM";
  return {
    mapping: stricter(MAPPINGS, outer.mapping, inner.mapping),
    filtering:
      shared && outer.filtering === "EIF" && inner.filtering === "ADF"
        ? "EIF"
        : stricter(FILTERINGS, outer.filtering, inner.filtering),
  };
}

const PUBLIC: NatKind = { mapping: "EIM", filtering: "EIF" };

/** Neither maps endpoint-independently: `open` hears the other first, and its answer from a new port is let in. */
function hears(open: NatKind, other: NatKind): boolean {
  return open.filtering === "EIF" && other.filtering !== "APDF";
}
