/** What stands between a host and the internet, as the text that names it. */
import type { NatFiltering, NatMapping } from "@adit/sim";
import { EXTRAS, type ExtraName } from "./extras/index.ts";

export type NatPorts = "preserving" | "hashed" | "random" | "sequential";

export interface NatKindOfLab {
  readonly mapping: NatMapping;
  readonly filtering: NatFiltering;
  /** EIM: preserving, or hashed (some other port, the same until a reboot). ADM: hashed. APDM: random, or sequential. */
  readonly ports: NatPorts;
  /** RFC 4787 §6: whether those behind it reach each other by their external addresses. */
  readonly hairpin: boolean;
  /** Those behind it do not reach each other by their internal addresses, as with a Wi-Fi's client isolation. */
  readonly isolated: boolean;
}

/** One side's way to the internet. */
export interface SideKind {
  readonly text: string;
  /** The innermost first; none: a public address. */
  readonly layers: readonly NatKindOfLab[];
  readonly extras: readonly ExtraName[];
}

export interface PairKind {
  readonly text: string;
  readonly agent: SideKind;
  readonly connector: SideKind;
  /** The NAT that both sides are behind, outside of their own. */
  readonly shared: NatKindOfLab | null;
}

const KIND = /^(eim|adm|apdm)-(eif|adf|apdf)((?:-[a-z]+)*)$/;
const PORTS: readonly string[] = ["preserving", "hashed", "random", "sequential"];
/** What goes with each mapping; the first if none is named. */
const PORTS_OF: Readonly<Record<NatMapping, readonly NatPorts[]>> = {
  EIM: ["preserving", "hashed"],
  ADM: ["hashed"],
  APDM: ["random", "sequential"],
};

/** @throws RangeError with what was expected. */
function parseNat(text: string): NatKindOfLab {
  const found = KIND.exec(text);
  const traits = found?.[3]?.split("-").slice(1) ?? [];
  const ports = traits.filter((trait) => PORTS.includes(trait));
  const others = traits.filter((trait) => !PORTS.includes(trait) && trait !== "hairpin" && trait !== "isolated");
  if (!found || ports.length > 1 || others.length > 0) {
    throw new RangeError(
      `"${text}": open, or eim|adm|apdm, then -eif, -adf or -apdf, then optionally -preserving, -hashed, -random or -sequential, ` +
        "-hairpin, -isolated was expected",
    );
  }
  const mapping = found[1]?.toUpperCase() as NatMapping;
  const chosen = (ports[0] ?? PORTS_OF[mapping][0]) as NatPorts;
  if (!PORTS_OF[mapping].includes(chosen))
    throw new RangeError(`"${text}": ${mapping} does not go with ${chosen} ports`);
  return {
    mapping,
    filtering: found[2]?.toUpperCase() as NatFiltering,
    ports: chosen,
    hairpin: traits.includes("hairpin"),
    isolated: traits.includes("isolated"),
  };
}

/**
 * `open` (a public address), one NAT like `apdm-apdf` or `eim-adf-hashed`, or several, the innermost first: `eim-apdf/apdm-adf`;
 * then what else there is about it, like `+no-udp`.
 * @throws RangeError with what was expected.
 */
export function parseSide(text: string): SideKind {
  const [nats = "", ...extras] = text.split("+");
  const unknown = extras.find((extra) => !(extra in EXTRAS));
  if (unknown !== undefined) throw new RangeError(`"+${unknown}": +${Object.keys(EXTRAS).join(", +")} was expected`);
  const layers = nats === "open" ? [] : nats.split("/").map(parseNat);
  return { text, layers, extras: extras as ExtraName[] };
}

export const isIpv6Alone = ({ extras }: Pick<SideKind, "extras">): boolean =>
  extras.some((name) => "onlyIpv6" in EXTRAS[name]);

/** `AGENT:CONNECTOR`, or `AGENT:CONNECTOR@NAT` when both are behind that NAT. @throws RangeError with what was expected. */
export function parsePair(text: string): PairKind {
  const [sides = "", shared, ...rest] = text.split("@");
  const [agent, connector, ...more] = sides.split(":");
  if (!agent || !connector || more.length > 0 || rest.length > 0)
    throw new RangeError(`"${text}": AGENT:CONNECTOR or AGENT:CONNECTOR@NAT was expected`);
  return {
    text,
    agent: parseSide(agent),
    connector: parseSide(connector),
    shared: shared === undefined ? null : parseNat(shared),
  };
}
