/** What is run: which pairs, which probes, which scenarios. */
import type { Job } from "./jobs.ts";
import { expectation } from "./judge.ts";
import { parsePair, parseSide } from "./kinds.ts";
import { SCENARIOS } from "./scenarios/index.ts";

export const KINDS = ["eim-eif", "eim-adf", "eim-apdf", "apdm-eif", "apdm-adf", "apdm-apdf"];

/** Each kind against each, then what is not a single NAT on either side. */
export const MATRIX = [
  ...KINDS.flatMap((agent) => KINDS.map((connector) => `${agent}:${connector}`)),
  // no NAT, and NATs that choose other ports
  "open:open",
  "open:apdm-apdf",
  "apdm-apdf:open",
  "eim-apdf-hashed:eim-apdf-hashed",
  // ports that count up
  "apdm-adf-sequential:eim-adf",
  "apdm-apdf-sequential:eim-apdf",
  "eim-apdf:apdm-apdf-sequential",
  "apdm-apdf-sequential:apdm-apdf-sequential",
  // a carrier's NAT on one side or both
  "eim-apdf/eim-apdf:eim-apdf",
  "eim-eif/eim-apdf:eim-eif/eim-apdf",
  "eim-eif/apdm-apdf:eim-adf",
  "eim-eif/apdm-apdf:eim-apdf",
  // both behind one NAT
  "open:open@eim-apdf",
  "open:open@eim-apdf-isolated",
  "open:open@eim-apdf-hairpin-isolated",
  "open:eim-apdf@eim-apdf",
  "eim-apdf:eim-apdf@eim-adf",
  "eim-apdf:eim-apdf@eim-adf-hairpin",
  // no UDP on one side or both, and a network that lets nothing through but TCP 443
  "eim-apdf+no-udp:eim-apdf",
  "eim-apdf:eim-apdf+no-udp",
  "eim-apdf+no-udp:eim-apdf+no-udp",
  "eim-apdf+only-443:eim-apdf",
  "eim-apdf+only-443:eim-apdf+only-443",
  // IPv6 beside it
  "open+firewall6:open+firewall6",
  "apdm-apdf+firewall6:apdm-apdf+firewall6",
  "apdm-apdf+firewall6:apdm-apdf",
  "eim-apdf+only6:eim-apdf+only6",
  "eim-apdf+only6:eim-apdf",
  "eim-apdf:eim-apdf+only6",
  // another address for each host, not for each of its ports
  "adm-adf:eim-adf",
  "eim-apdf:adm-adf",
  // routers that open ports
  "apdm-apdf+pcp:apdm-apdf",
  "apdm-apdf:apdm-apdf+nat-pmp",
  "apdm-apdf+upnp:apdm-apdf",
  "apdm-apdf/eim-apdf+igd:apdm-apdf",
];

/** Where netcheck is tried. */
export const NETCHECKS = [
  "open",
  ...KINDS,
  "eim-adf-hairpin",
  "eim-apdf-hashed",
  "adm-adf",
  "apdm-adf-sequential",
  "eim-eif/apdm-apdf",
  "apdm-apdf+pcp",
  "apdm-apdf+nat-pmp",
  "apdm-apdf+upnp",
  "apdm-apdf/eim-apdf+igd",
  "open+firewall6",
  "apdm-apdf+firewall6",
  "eim-apdf+only6",
  "eim-apdf+no-udp",
  "eim-apdf+only-443",
  "eim-apdf+forgets-20",
  "eim-apdf+portal",
  "eim-apdf+portal-tcp",
];

/** The changes of the network under a transfer that docs/nat-changes.html is about. */
export const CHANGES = [
  "agent-address",
  "connector-address",
  "agent-roams",
  "agent-nat-reboot",
  "connector-nat-reboot",
  "both-nats-reboot",
  "link-out",
  "direct-blocked",
  "intermediate-restart",
  "relay-dies",
];

/** What CI runs. */
export const FAST = {
  kinds: [...KINDS, "eim-adf-hairpin"],
  pairs: [
    "eim-apdf:eim-apdf",
    "eim-adf:apdm-adf",
    "apdm-apdf:apdm-apdf",
    "apdm-apdf-sequential:eim-apdf",
    "open:open@eim-apdf-hairpin-isolated",
    "eim-apdf+only-443:eim-apdf+no-udp",
    "apdm-apdf+firewall6:apdm-apdf+firewall6",
    "eim-apdf+only6:eim-apdf+only6",
    "eim-apdf:eim-apdf+only6",
  ],
  /** Only where Debian's miniupnpd-nftables is installed, which is said. */
  routerPairs: ["apdm-apdf+igd:apdm-apdf"],
  scenarios: ["direct-blocked", "idle-short"],
  netchecks: ["eim-adf-hairpin", "apdm-apdf", "eim-apdf+no-udp"],
  scenarioBytes: 20_000_000,
};

export interface Wanted {
  readonly pairs: readonly string[];
  readonly kinds: readonly string[];
  readonly scenarios: readonly string[];
  readonly netchecks: readonly string[];
  readonly rtts: readonly number[];
  readonly runs: number;
  readonly sizeBytes: number;
  readonly secondAttempt: boolean;
}

/** @throws RangeError with what was expected. */
export function planJobs(wanted: Wanted): readonly Job[] {
  const { pairs, kinds, scenarios, netchecks, rtts, runs, sizeBytes, secondAttempt } = wanted;
  for (const pair of pairs) parsePair(pair);
  for (const side of netchecks) parseSide(side);
  const unknown = scenarios.find((name) => !(name in SCENARIOS));
  if (unknown) throw new RangeError(`--scenario ${unknown}: there is none of that name`);
  return [
    ...kinds.map((nat) => ({ kind: "verify" as const, nat, rttMs: 0 })),
    ...netchecks.map((side) => ({ kind: "netcheck" as const, side })),
    ...rtts.flatMap((rttMs) => pairs.map((pair) => ({ kind: "pair" as const, pair, rttMs, runs, secondAttempt }))),
    ...scenarios.flatMap((name) => rtts.map((rttMs) => ({ kind: "scenario" as const, name, rttMs, runs, sizeBytes }))),
  ];
}

/** The NATs that pairs are made of, to be probed before any result counts. */
export function kindsOf(pairs: readonly string[]): readonly string[] {
  const kinds = pairs.flatMap((text) => {
    const { agent, connector } = parsePair(text);
    const own = [agent, connector].filter(({ extras }) => extras.length === 0).map(({ text }) => text);
    return [...own, ...text.split("@").slice(1)];
  });
  return [...new Set(kinds)];
}

/** Most of the time nothing happens in them: sessions that end up relayed take 5 s to say so. Several fit beside each other. */
export const isPatient = (job: Job): boolean =>
  job.kind === "netcheck" ||
  (job.kind === "pair" && expectation(job.pair).path === "relay") ||
  (job.kind === "scenario" && SCENARIOS[job.name]?.instead !== undefined);

/** Delay, loss and rates are made by wires, which take /dev/net/tun; without them the cables are plain. */
export const needsWires = (job: Job): boolean =>
  ("rttMs" in job && job.rttMs > 0) || (job.kind === "scenario" && SCENARIOS[job.name]?.world?.quality !== undefined);
