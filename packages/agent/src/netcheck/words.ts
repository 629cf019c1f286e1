import type { NatFindings, NetcheckReport } from "./report.ts";

const MAPPING: Readonly<Record<string, string>> = {
  EIM: "EIM (one external address for all destinations)",
  ADM: "ADM (another external address for each destination host)",
  APDM: "APDM (another external address for each destination)",
};
const FILTERING: Readonly<Record<string, string>> = {
  EIF: "EIF (lets everybody in)",
  ADF: "ADF (lets in hosts that were sent to)",
  APDF: "APDF (lets in only the hosts and ports that were sent to)",
};

/** For a person: a line each, what it comes to last. */
export function inWords(report: NetcheckReport): string {
  const { udp, tcp, intercepted, ipv4, ipv6, nat, portMapping, intermediates, expect, unknown } = report;
  const lines: [string, string][] = [
    ["UDP", udp === null ? "no answer" : yesNo(udp, "gets out and back", "is blocked")],
    [
      "TCP",
      intercepted ? "is answered by something else: a captive portal or a proxy" : yesNo(tcp, "works", "does not work"),
    ],
    ["IPv4", ipv4 ? `${ipv4.address}${ipv4.nat ? " (behind a NAT)" : " (no NAT)"}` : "not seen"],
    ["IPv6", ipv6 ? `${ipv6.address}${ipv6.nat ? " (behind a NAT)" : ""}` : "not seen"],
    ...(nat ? natLines(nat) : []),
    ...(portMapping ? [["port mapping", portMapping.sentence] as [string, string]] : []),
    ...intermediates.map(
      ({ address, connected, rttMs, transport }) =>
        [
          "intermediate",
          connected
            ? `${address}, ${inMs(rttMs)}${transport === "tls" ? " over TCP" : ""}`
            : `${address} does not answer`,
        ] as [string, string],
    ),
    ...unknown.map((what) => ["not known", what] as [string, string]),
  ];
  return [...lines.map(([name, words]) => `${name.padEnd(14)}${words}`), "", expect.sentence].join("\n");
}

function natLines(nat: NatFindings): [string, string][] {
  const { present, mapping, filtering, portsPreserved, portDelta, hairpin, bindingLifetime } = nat;
  const lines: [string, string][] = [];
  if (present) lines.push(["mapping", mapping ? (MAPPING[mapping] as string) : "not known"]);
  lines.push([present ? "filtering" : "firewall", filtering ? (FILTERING[filtering] as string) : "not known"]);
  if (present) {
    const step =
      portDelta === null ? "" : `, each ${Math.abs(portDelta)} ${portDelta > 0 ? "above" : "below"} the last`;
    lines.push(["ports", portsPreserved === null ? "not known" : portsPreserved ? "kept" : `changed${step}`]);
    lines.push(["hairpin", yesNo(hairpin, "yes: hosts behind the NAT reach each other from outside", "no")]);
  }
  if (bindingLifetime) {
    const { atLeastMs, belowMs } = bindingLifetime;
    const above = `${Math.round(atLeastMs / 1000)} s at least`;
    lines.push(["lifetime", belowMs === null ? above : `${above}, less than ${Math.round(belowMs / 1000)} s`]);
  }
  return lines;
}

const yesNo = (value: boolean | null, yes: string, no: string): string =>
  value === null ? "not known" : value ? yes : no;
const inMs = (rttMs: number | null): string => (rttMs === null ? "connected" : `${rttMs.toFixed(1)} ms`);
