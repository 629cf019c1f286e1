import { AditError, type IpFamily, ipInPrefix, parseIp, SocketAddress } from "@adit/core";
import type { LocalCandidateInit } from "./agent-types.ts";
import type { LocalCandidate } from "./candidate.ts";

/** Which candidates are used, and as what they are announced. Everything is by default. */
export interface CandidateRules {
  /** Address families, on either side. */
  readonly families?: readonly IpFamily[];
  /** Types of our candidates that the peer is told of. What it is not told of still sends and answers checks. */
  readonly announce?: readonly LocalCandidateInit["type"][];
  /** Prefixes (`10.0.0.0/8`, or one address) that candidates of either side must lie in. */
  readonly allow?: readonly string[];
  /** Prefixes that they must not lie in; goes before `allow`. */
  readonly deny?: readonly string[];
  /** Addresses under which a NAT in front shows our own, one to one, ports kept, as clouds do. */
  readonly external?: readonly ExternalAddress[];
}

/** One address of ours and what a one-to-one NAT in front shows in its place. */
export interface ExternalAddress {
  /** One of our own addresses. */
  readonly internal: string;
  /** What the world sees in its place. */
  readonly external: string;
  /** `host`: announced in place of the internal one. `srflx`, the default: announced beside it. */
  readonly as?: "host" | "srflx";
}

/** A rule cannot be read. */
export class IceRuleError extends AditError {
  /** The only one. */
  override readonly code = "bad-rule";
}

interface Prefix {
  readonly network: Uint8Array;
  readonly length: number;
}

/** {@link CandidateRules}, read once. */
export class Rules {
  readonly #families: readonly IpFamily[];
  readonly #announce: readonly LocalCandidate["type"][];
  readonly #allow: readonly Prefix[] | null;
  readonly #deny: readonly Prefix[];
  readonly #external: ReadonlyMap<string, { readonly ip: string; readonly as: "host" | "srflx" }>;

  /** @throws IceRuleError `bad-rule`. */
  constructor(rules: CandidateRules = {}) {
    this.#families = rules.families ?? [4, 6];
    this.#announce = rules.announce ?? ["host", "srflx", "relay"];
    this.#allow = rules.allow?.map(parsePrefix) ?? null;
    this.#deny = (rules.deny ?? []).map(parsePrefix);
    this.#external = new Map(
      (rules.external ?? []).map(({ internal, external, as }) => {
        const [inside, outside] = [canonicalIp(internal), canonicalIp(external)];
        if (inside.family !== outside.family) {
          throw new IceRuleError(`${internal} and ${external} are not of one address family`);
        }
        return [inside.ip, { ip: outside.ip, as: as ?? "srflx" }];
      }),
    );
  }

  admits(address: SocketAddress): boolean {
    const { bytes, family } = address;
    if (!this.#families.includes(family)) return false;
    const holds = ({ network, length }: Prefix) => ipInPrefix(bytes, network, length);
    return !this.#deny.some(holds) && (this.#allow === null || this.#allow.some(holds));
  }

  isAnnounced(type: LocalCandidate["type"]): boolean {
    return this.#announce.includes(type);
  }

  /** What a host candidate becomes: itself, what the world sees in its place, or both. */
  expand(init: LocalCandidateInit): readonly LocalCandidateInit[] {
    const rule = init.type === "host" ? this.#external.get(init.address.ip) : undefined;
    if (!rule) return [init];
    const address = SocketAddress.of(rule.ip, init.address.port);
    const base = init.base ?? init.address;
    if (rule.as === "host") return [{ ...init, address, base }];
    const { localPreference: _, ...rest } = init;
    return [init, { ...rest, type: "srflx", address, base, related: base }];
  }
}

function canonicalIp(text: string): SocketAddress {
  if (!parseIp(text)) throw new IceRuleError(`"${text}" is not an IP address`);
  return SocketAddress.of(text, 0);
}

function parsePrefix(text: string): Prefix {
  const [ip = "", bits] = text.split("/", 2);
  const network = parseIp(ip);
  const most = (network?.length ?? 0) * 8;
  const length = bits === undefined ? most : Number(bits);
  if (!network || !/^\d{0,3}$/.test(bits ?? "") || bits === "" || length > most) {
    throw new IceRuleError(`"${text}" is not an address prefix such as 10.0.0.0/8`);
  }
  return { network, length };
}
