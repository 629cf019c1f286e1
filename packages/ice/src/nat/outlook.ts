import type { FilteringBehavior, MappingBehavior } from "./report.ts";

/** With whom direct paths are to be expected. */
export type Outlook =
  /** With everybody who has UDP at all. */
  | "all"
  /** With peers whose NAT shows them with one address to everybody (EIM), or who have none. */
  | "most"
  /** With peers whose NAT shows them with one address and lets in all ports of a host (EIM with EIF or ADF), or who have none. */
  | "few"
  /** With nobody: UDP does not get through. */
  | "none";

/**
 * What a NAT's kind means for its host, when both sides keep sending to what they know of each other, as ICE does. Of what is not known
 * the worst is taken.
 */
export function outlookOf(mapping: MappingBehavior | null, filtering: FilteringBehavior | null): Outlook {
  if (mapping !== "EIM") return "few";
  return filtering === "EIF" || filtering === "ADF" ? "all" : "most";
}
