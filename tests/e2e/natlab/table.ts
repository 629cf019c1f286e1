import { type PairCell, type ScenarioCell, type Spread, spread } from "./judge.ts";
import { SCENARIOS } from "./scenarios/index.ts";

const ms = (value: Spread | null) => (value ? `${Math.round(value.p50)}/${Math.round(value.p95)}` : "-");

export function pairTable(cells: readonly PairCell[]): string {
  return table(
    [
      "agent:connector",
      "rtt ms",
      "runs",
      "oracle",
      "path",
      "candidates",
      "first byte p50/p95 ms",
      "direct p50/p95 ms",
      "relay first",
      "",
    ],
    cells.map((cell) => [
      cell.pair,
      String(cell.rttMs),
      String(cell.runs),
      cell.expected,
      cell.paths,
      cell.types,
      ms(cell.firstByte),
      ms(cell.direct),
      `${cell.relayFirst}/${cell.runs}`,
      cell.problems.length === 0 ? "ok" : "NOT OK",
    ]),
  );
}

export interface Overview {
  readonly rttMs: number;
  readonly pairs: number;
  readonly sessions: number;
  /** Medians of the pairs' medians, and the worst of their 95th percentiles. */
  readonly firstByte: { readonly median: number; readonly worst: number } | null;
  readonly direct: { readonly median: number; readonly worst: number } | null;
}

/** All pairs of one round trip in a line, for each. */
export function overview(cells: readonly PairCell[]): readonly Overview[] {
  const over = (spreads: readonly (Spread | null)[]) => {
    const known = spreads.filter((one): one is Spread => one !== null);
    const median = spread(known.map(({ p50 }) => p50))?.p50;
    return median === undefined ? null : { median, worst: Math.max(...known.map(({ p95 }) => p95)) };
  };
  return [...new Set(cells.map(({ rttMs }) => rttMs))].map((rttMs) => {
    const some = cells.filter((cell) => cell.rttMs === rttMs);
    return {
      rttMs,
      pairs: some.length,
      sessions: some.reduce((sum, { runs }) => sum + runs, 0),
      firstByte: over(some.map(({ firstByte }) => firstByte)),
      direct: over(some.map(({ direct }) => direct)),
    };
  });
}

export function overviewTable(cells: readonly PairCell[]): string {
  const words = (value: Overview["direct"]) => (value ? `${Math.round(value.median)}/${Math.round(value.worst)}` : "-");
  return table(
    ["rtt ms", "pairs", "sessions", "first byte median/worst p95 ms", "direct median/worst p95 ms"],
    overview(cells).map(({ rttMs, pairs, sessions, firstByte, direct }) => [
      String(rttMs),
      String(pairs),
      String(sessions),
      words(firstByte),
      words(direct),
    ]),
  );
}

export function scenarioTable(cells: readonly ScenarioCell[]): string {
  return table(
    [
      "scenario",
      "rtt ms",
      "runs",
      "gap p50/p95 ms",
      "aim ms",
      "moved p50/p95 ms",
      "direct again p50/p95 ms",
      "up p50/p95 ms",
      "transfer p50/p95 s",
      "handshakes",
      "at the end",
      "",
    ],
    cells.map((cell) => {
      const { gap, moved, directAgain, up, transfer } = scenarioSpreads(cell);
      const { name, rttMs, runs, problems } = cell;
      return [
        name,
        String(rttMs),
        String(runs.length),
        ms(gap),
        String(SCENARIOS[name]?.aimMs ?? "-"),
        ms(moved),
        ms(directAgain),
        ms(up),
        transfer ? `${(transfer.p50 / 1000).toFixed(1)}/${(transfer.p95 / 1000).toFixed(1)}` : "-",
        distinct(runs.map(({ handshakes }) => handshakes)),
        distinct(runs.map(({ path }) => path)),
        problems.length === 0 ? "ok" : "NOT OK",
      ];
    }),
  );
}

export const distinct = (values: readonly unknown[]): string => [...new Set(values)].join(", ");

/** What the runs of a scenario come to. Null: it did not come to that in any. */
export function scenarioSpreads({ runs }: ScenarioCell) {
  return {
    gap: spread(runs.map(({ gapMs }) => gapMs)),
    /** To another path. */
    moved: spread(runs.flatMap(({ leftMs }) => leftMs ?? [])),
    directAgain: spread(runs.flatMap(({ directAgainMs }) => directAgainMs ?? [])),
    up: spread(runs.flatMap(({ upMs }) => upMs ?? [])),
    transfer: spread(runs.flatMap(({ transferMs }) => transferMs ?? [])),
  };
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? "").length)));
  return all
    .map((row) =>
      row
        .map((text, column) => text.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
