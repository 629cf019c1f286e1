import type { NetworkView as NetworkViewMessage } from "@adit/signaling";

/** What a side knows of its own network. */
export interface NetworkView {
  readonly policy: "all" | "relay";
  /** Whether UDP gets out and back. */
  readonly udp: "open" | "blocked" | "unknown";
  /** RFC 4787 §4.1, as far as two destinations at one address tell: with an address-dependent mapping they would look like one. */
  readonly mapping: "eim" | "apdm" | "unknown";
  /** How a NAT with a mapping for each destination chooses their ports. */
  readonly ports: "sequential" | "random" | "unknown";
}

/** The peer's word for it. What is not known here is unknown. */
export function readNetworkView({ policy, udp, mapping, ports }: NetworkViewMessage): NetworkView {
  const known = <T extends string>(word: string, words: readonly T[]): T | undefined =>
    words.find((one) => one === word);
  return {
    policy: known(policy, ["relay"]) ?? "all",
    udp: known(udp, ["open", "blocked"]) ?? "unknown",
    mapping: known(mapping, ["eim", "apdm"]) ?? "unknown",
    ports: known(ports, ["sequential", "random"]) ?? "unknown",
  };
}
