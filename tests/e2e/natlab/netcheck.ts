/** What `adit-agent netcheck` says behind each kind of network, against what was built. */
import { canConnectDirectly, composeNats, type NatKind } from "@adit/sim";
import { EXTRAS, type Extra } from "./extras/index.ts";
import { SIGN_IN_URL } from "./extras/portal.ts";
import { isIpv6Alone, parseSide, type SideKind } from "./kinds.ts";
import { PROBE_IP6, PROBE_IPS } from "./lab.ts";
import { adit } from "./programs.ts";
import { World } from "./world.ts";

export interface NetcheckJob {
  readonly kind: "netcheck";
  /** As parseSide reads it. */
  readonly side: string;
}

/** As far as it is judged; docs/operations.md has all of it. */
export interface NetcheckSaid {
  readonly udp: boolean | null;
  readonly tcp: boolean | null;
  readonly intercepted: boolean | null;
  readonly signIn: string | null;
  readonly ipv4: { readonly address: string; readonly nat: boolean } | null;
  readonly ipv6: { readonly address: string; readonly nat: boolean } | null;
  readonly nat: {
    readonly present: boolean;
    readonly mapping: string | null;
    readonly filtering: string | null;
    readonly portsPreserved: boolean | null;
    readonly portDelta: number | null;
    readonly hairpin: boolean | null;
    readonly bindingLifetime: { readonly atLeastMs: number; readonly belowMs: number | null } | null;
  } | null;
  readonly portMapping: { readonly external: string | null; readonly public: boolean | null } | null;
  readonly intermediates: readonly { readonly connected: boolean; readonly transport: string | null }[];
  readonly expect: { readonly direct: string | null; readonly relay: boolean | null; readonly sentence: string };
  readonly tookMs: number;
}

/** A few seconds: signaling over TLS is found out within 3, silence costs 1.5 a question. */
const MAX_MS = 10_000;
/** The lifetime of a mapping is found out by waiting for its end, several times. */
const MAX_LIFETIME_MS = 180_000;
const UP_MS = 15_000;

export async function runNetcheck({ side }: NetcheckJob, say: (result: object) => void): Promise<void> {
  const world = await World.begin({ pair: `${side}:open`, rttMs: 0 });
  try {
    const { agent } = world.kind;
    const port = agent.extras.includes("only-443") ? 443 : 4433;
    const families = [...(isIpv6Alone(agent) ? [] : [PROBE_IPS[0]]), ...(hasIpv6(agent) ? [`[${PROBE_IP6}]`] : [])];
    const intermediates = families.map((ip) => `${ip}:${port}`);
    const server = world.start(
      "probe",
      "intermediate-2",
      adit(
        "intermediate",
        ...families.flatMap((ip) => ["--listen", `${ip}:${port}`, "--stun", `${ip}:3478`]),
        ...(isIpv6Alone(agent) ? [] : ["--alternate-address", PROBE_IPS[1]]),
        ...["--state-dir", `${world.directory}/intermediate-2`, "--log", "json"],
      ),
    );
    await server.expect("listening", UP_MS);
    const asks = lifetimeOf(parseSide(side)) === undefined ? [] : ["--binding-lifetime"];
    const told = intermediates.flatMap((intermediate) => ["--intermediate", intermediate]);
    const options = [...told, ...asks, "--state-dir", `${world.directory}/netcheck`];
    const checker = world.start("agent", "netcheck", adit("agent", "netcheck", "--json", ...options));
    await checker.line(() => false, 2 * maxMs(parseSide(side))); // its end
    const report = checker.lines.find(({ tookMs }) => tookMs !== undefined);
    if (!report) throw new Error(`netcheck printed no report:\n${checker.tail}`);
    say(report);
  } finally {
    await world.end();
  }
}

const hasIpv6 = ({ extras }: SideKind): boolean => extras.some((name) => "ipv6" in EXTRAS[name]);
const lifetimeOf = ({ extras }: SideKind): number | undefined =>
  extras.flatMap((name) => (EXTRAS[name] as Extra).forgetsAfterS ?? [])[0];
const maxMs = (side: SideKind): number => (lifetimeOf(side) === undefined ? MAX_MS : MAX_LIFETIME_MS);

/** What is wrong with what it said. `patience` stretches the time. */
export function judgeNetcheck(side: string, said: NetcheckSaid, patience: number): string[] {
  const problems: string[] = [];
  const expect = (words: string, found: unknown, wanted: unknown): void => {
    if (found !== wanted) problems.push(`${words}: ${String(found)}, not ${String(wanted)}`);
  };
  const built = parseSide(side);
  const { layers, extras } = built;
  const has = (trait: "blocksUdp" | "mapsPorts" | "isPortal") => extras.some((name) => trait in EXTRAS[name]);
  if (said.tookMs > patience * maxMs(built)) problems.push(`took ${said.tookMs} ms`);
  expect("udp", said.udp, !has("blocksUdp"));
  expect("intercepted", said.intercepted, has("isPortal"));
  expect("sign in at", said.signIn, has("isPortal") ? SIGN_IN_URL : null);
  if (has("isPortal")) {
    expect("tcp", said.tcp, false);
    expect("an intermediate is connected", said.intermediates[0]?.connected, false);
    expect("relay", said.expect.relay, false);
    return problems;
  }
  expect("an intermediate is connected", said.intermediates[0]?.connected, true);
  expect("over", said.intermediates[0]?.transport, has("blocksUdp") ? "tls" : "quic");
  expect("relay", said.expect.relay, true);
  if (has("blocksUdp")) {
    expect("tcp", said.tcp, true);
    expect("direct", said.expect.direct, "none");
    return problems;
  }
  expect("IPv6", said.ipv6?.nat ?? null, hasIpv6(built) ? false : null);
  expect(
    "says what IPv6 is good for",
    /have IPv6/.test(said.expect.sentence),
    hasIpv6(built) && said.expect.direct !== "all",
  );
  if (isIpv6Alone(built)) {
    expect("IPv4", said.ipv4, null);
    expect("direct", said.expect.direct, "few");
    return problems;
  }
  const kind = composeNats([...layers].reverse()) ?? { mapping: "EIM", filtering: "EIF" };
  const [only, ...more] = layers;
  expect("behind a NAT", said.ipv4?.nat, layers.length > 0);
  const forgetsMs = (lifetimeOf(built) ?? Number.NaN) * 1000;
  const { atLeastMs = Number.NaN, belowMs } = said.nat?.bindingLifetime ?? {};
  if (!Number.isNaN(forgetsMs) && !(atLeastMs <= forgetsMs && forgetsMs <= (belowMs ?? 0)))
    problems.push(`mappings live ${atLeastMs} to ${belowMs} ms, not ${forgetsMs}`);
  expect("filtering", said.nat?.filtering, kind.filtering);
  const mapped = has("mapsPorts") && layers.length === 1;
  expect("a public port is mapped", said.portMapping?.public ?? false, mapped);
  expect("direct", said.expect.direct, mapped ? "all" : outlookByOracle(kind));
  if (only && more.length === 0) {
    expect("mapping", said.nat?.mapping, kind.mapping);
    expect("ports kept", said.nat?.portsPreserved, only.ports === "preserving");
    if (only.ports === "sequential") expect("step of ports", said.nat?.portDelta, 1);
    // Where each destination gets another port, filters hide it; netcheck says that it does not know.
    if (kind.mapping === "EIM" || only.hairpin) expect("hairpin", said.nat?.hairpin ?? false, only.hairpin);
  }
  return problems;
}

/** With which kinds of NAT the oracle says direct, in netcheck's words. */
function outlookByOracle(mine: NatKind): string {
  const others = (["EIM", "APDM"] as const).flatMap((mapping) =>
    (["EIF", "ADF", "APDF"] as const).map((filtering) => ({ mapping, filtering })),
  );
  const isDirect = (other: NatKind) => canConnectDirectly(mine, other);
  if (others.every(isDirect)) return "all";
  return others.filter(({ mapping }) => mapping === "EIM").every(isDirect) ? "most" : "few";
}
