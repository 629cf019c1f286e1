/** What has to come out, and whether it did. */
import { canMeetDirectly, composeNats, type WayOut } from "@adit/sim";
import { EXTRAS } from "./extras/index.ts";
import type { PairJob } from "./jobs.ts";
import { isIpv6Alone, parsePair, parseSide, type SideKind } from "./kinds.ts";
import type { PairRun } from "./pair-run.ts";
import type { NatFindings } from "./probe.ts";
import type { ScenarioJob } from "./run-scenario.ts";
import { SCENARIOS } from "./scenarios/index.ts";
import type { ScenarioRun } from "./scenarios/scenario.ts";

export interface Spread {
  readonly p50: number;
  readonly p95: number;
}

export interface PairCell extends PairJob {
  readonly expected: "direct" | "relay";
  /** Where the sessions ended up, like `direct 10/10`. */
  readonly paths: string;
  /** In how many of the sessions that was where the oracle says. */
  readonly asExpected: number;
  /** Candidate types, local to remote, the most frequent first. */
  readonly types: string;
  readonly relayFirst: number;
  readonly firstByte: Spread | null;
  readonly direct: Spread | null;
  /** For how long the programs had no processor meanwhile: whether the times are theirs or the machine's. */
  readonly waited: Spread | null;
  readonly reason: string | null;
  readonly problems: readonly string[];
}

/** The nearest-rank percentile. Null of nothing. */
export function spread(values: readonly number[]): Spread | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const rank = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] as number;
  return { p50: rank(0.5), p95: rank(0.95) };
}

/** Where direct: within 1 s + 4 round trips at p95, counted from the moment when the user's connection was taken. */
const DIRECT_MS = 1000;
const DIRECT_ROUND_TRIPS = 4;

/** Where UDP is blocked: found out, and a session up, within 3 s and so many round trips. */
const FOUND_BLOCKED_MS = 3000;

/** `patience` stretches the time bounds, for machines that others use too; the time for which the programs had no processor does not count then. */
export function judgePair(
  job: PairJob,
  results: readonly (PairRun | { error: string })[],
  patience: number,
): Omit<PairCell, keyof PairJob> {
  const runs = results.filter((run): run is PairRun => !("error" in run));
  const problems = results.flatMap((run) => ("error" in run ? [run.error] : []));
  const { path: expected, share } = expectation(job.pair);
  const asExpected = runs.filter(({ path }) => path === expected).length;
  if (asExpected < share * job.runs)
    problems.push(`the oracle says ${expected}; so it was in ${asExpected} of ${job.runs} runs`);
  const relayed = runs.filter(({ path }) => path === "relay");
  const wanted = expectedReason(job.pair);
  if (relayed.some(({ reason }) => !wanted.test(reason ?? "")))
    problems.push(`a relayed session does not say ${wanted}: ${relayed.map(({ reason }) => reason).join("; ")}`);
  const relayFirst = runs.filter(
    ({ startedOnRelay, servedLateMs, waitedMs }) => startedOnRelay && servedLateMs <= (patience > 1 ? waitedMs : 0),
  );
  const raced = runs.filter(({ relayMs, startReason }) => relayMs === null && /the relay/.test(startReason ?? ""));
  if (relayFirst.length + raced.length < runs.length)
    problems.push(
      `the first byte came over the relay before direct was reached in ${relayFirst.length} of ${runs.length} runs, ` +
        `and in ${raced.length} the session says that the relay was silent`,
    );
  const direct = spread(runs.flatMap(({ directMs }) => directMs ?? []));
  const firstByte = spread(runs.map(({ firstByteMs }) => firstByteMs));
  problems.push(...judgeTimes(job, runs, patience));
  return {
    expected,
    asExpected,
    paths: counted(runs.map(({ path }) => path)),
    types: counted(runs.map(({ localType, remoteType }) => `${localType}-${remoteType}`)),
    relayFirst: relayFirst.length,
    firstByte,
    direct,
    waited: spread(runs.map(({ waitedMs }) => waitedMs)),
    reason: relayed[0]?.reason ?? null,
    problems,
  };
}

function judgeTimes({ pair, rttMs }: PairJob, runs: readonly PairRun[], patience: number): readonly string[] {
  const judge = (what: string, timeOf: (run: PairRun) => number | null, aimMs: number): readonly string[] => {
    const boundMs = patience * (aimMs + DIRECT_ROUND_TRIPS * rttMs);
    const times = runs.flatMap((run) => {
      const ms = timeOf(run);
      return ms === null ? [] : ms - (patience > 1 ? run.waitedMs : 0);
    });
    const found = spread(times);
    if (!found || found.p95 <= boundMs) return [];
    const waited = runs.map(({ waitedMs }) => Math.round(waitedMs)).join(", ");
    return [
      `${what} after ${Math.round(found.p95)} ms at p95; ${boundMs} at most (waiting for a processor: ${waited} ms)`,
    ];
  };
  return [
    ...judge("direct", ({ directMs }) => directMs, DIRECT_MS),
    ...(hasBlockedSide(pair)
      ? judge("first byte, where UDP is blocked,", (run) => run.firstByteMs, FOUND_BLOCKED_MS)
      : []),
  ];
}

interface Expectation {
  readonly path: "direct" | "relay";
  /** In how many of the sessions at least, 0 to 1. */
  readonly share: number;
}

/** Prediction is a guess: another host's connection at the wrong moment spoils it. */
const PREDICTED_SHARE = 0.8;

export function expectation(pair: string): Expectation {
  const { agent, connector, shared } = parsePair(pair);
  const [a, b] = [wayOut(agent), wayOut(connector)];
  const withoutLuck = (side: WayOut) => ({ ...side, countsPorts: false });
  if (canMeetDirectly(withoutLuck(a), withoutLuck(b), shared)) return { path: "direct", share: 1 };
  if (canMeetDirectly(a, b, shared)) return { path: "direct", share: PREDICTED_SHARE };
  return { path: "relay", share: 1 };
}

function hasBlockedSide(pair: string): boolean {
  const { agent, connector } = parsePair(pair);
  return !wayOut(agent).udp || !wayOut(connector).udp;
}

/** What the agent has to say of a relayed session: where the cause is. */
function expectedReason(pair: string): RegExp {
  const { agent, connector, shared } = parsePair(pair);
  const unforeseeable = (side: SideKind) =>
    composeNats([...(shared ? [shared] : []), ...wayOut(side).nats])?.mapping === "APDM";
  if (hasBlockedSide(pair)) return /^no direct path: UDP is blocked/;
  if (isIpv6Alone(agent) !== isIpv6Alone(connector))
    return isIpv6Alone(agent)
      ? /^no direct path: this side has IPv6 alone, and the peer IPv4$/
      : /^no direct path: this side has IPv4 alone, and the peer IPv6$/;
  if (shared && !shared.hairpin) return /^no direct path: both sides are behind one NAT/;
  if (unforeseeable(agent) && unforeseeable(connector))
    return /^no direct path: both NATs give each destination another port/;
  if (unforeseeable(agent)) return /^no direct path: your NAT gives each destination another port/;
  if (unforeseeable(connector)) return /^no direct path: the peer's NAT gives each destination another port/;
  return /^no direct path: ./;
}

/** A side as the oracle sees it, which counts NATs from the outermost in. */
function wayOut({ layers, extras }: SideKind): WayOut {
  const blocked = extras.some((name) => "blocksUdp" in EXTRAS[name]);
  // A port that the router opened is as good as a public address; behind another NAT it is good for nothing.
  const mapped = layers.length === 1 && extras.some((name) => "mapsPorts" in EXTRAS[name]);
  const nats = mapped ? [] : [...layers].reverse();
  const counting = nats.some(({ ports }) => ports === "sequential");
  return {
    nats,
    udp: !blocked,
    ipv6: extras.some((name) => "ipv6" in EXTRAS[name]),
    ipv4: !isIpv6Alone({ extras }),
    countsPorts: counting && nats.every(({ ports }) => ports === "sequential" || ports === "preserving"),
  };
}

/** Whether the NATs between the prober and the internet are what they are called. */
export function judgeNat(text: string, found: NatFindings): string[] {
  const { layers } = parseSide(text);
  const kind = composeNats([...layers].reverse()) ?? { mapping: "EIM", filtering: "EIF" };
  const problems: string[] = [];
  if (found.mapping !== kind.mapping) problems.push(`maps ${found.mapping}, not ${kind.mapping}`);
  if (found.filtering !== kind.filtering) problems.push(`filters ${found.filtering}, not ${kind.filtering}`);
  const preserving = layers.every(({ ports }) => ports === "preserving");
  if (found.preserving !== preserving) problems.push(`${preserving ? "does not keep" : "keeps"} ports`);
  // Behind a mapping by destination they cannot find each other, hairpin or not; with a public address they need none.
  const hairpins = layers.some(({ hairpin }) => hairpin);
  if (layers.length === 1 && kind.mapping === "EIM" && found.hairpin !== hairpins)
    problems.push(hairpins ? "does not hairpin" : "hairpins");
  const [first = 0, ...others] = found.externalPorts;
  if (
    layers.length === 1 &&
    layers[0]?.ports === "sequential" &&
    others.some((port, index) => port !== first + index + 1)
  )
    problems.push(`does not count its ports up: ${found.externalPorts.join(", ")}`);
  return problems;
}

function counted(words: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([word, count]) => (counts.size === 1 ? word : `${word} ${count}/${words.length}`))
    .join(" ");
}

/** Round trips below which the aims are meant. */
const AIM_RTT_MS = 50;

export interface ScenarioCell extends Omit<ScenarioJob, "runs"> {
  /** Those that went well. */
  readonly runs: readonly ScenarioRun[];
  readonly problems: readonly string[];
}

/** `patience` as in {@link judgePair}. */
export function judgeScenario(
  job: ScenarioJob,
  results: readonly (ScenarioRun | { error: string })[],
  patience: number,
): ScenarioCell {
  const { aimMs, leaveAimMs } = SCENARIOS[job.name] ?? {};
  const runs = results.filter((run): run is ScenarioRun => !("error" in run));
  const problems = results.flatMap((run) => ("error" in run ? [run.error] : []));
  const gap = spread(runs.map(({ gapMs }) => gapMs));
  if (aimMs !== undefined && gap && job.rttMs < AIM_RTT_MS && gap.p95 > aimMs * patience)
    problems.push(`the silence lasted ${Math.round(gap.p95)} ms at p95, and ${aimMs * patience} ms at most is the aim`);
  if (aimMs !== undefined && runs.some(({ handshakes }) => handshakes !== 1))
    problems.push(`handshakes: ${runs.map(({ handshakes }) => handshakes).join(", ")}; the session was to be kept`);
  const left = spread(runs.map(({ leftMs }) => leftMs ?? Number.POSITIVE_INFINITY));
  if (leaveAimMs !== undefined && left && left.p95 > leaveAimMs * patience)
    problems.push(
      `the path was left after ${Math.round(left.p95)} ms at p95; ${leaveAimMs * patience} at most is the aim`,
    );
  return { ...job, runs, problems };
}
