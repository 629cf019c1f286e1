import { type PairCell, type Spread, spread } from "./judge.ts";
import type { ScenarioRun } from "./scenarios/scenario.ts";

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

export function scenarioTable(
  scenarios: readonly { readonly name: string; readonly rttMs: number; readonly runs: readonly ScenarioRun[] }[],
): string {
  return table(
    ["scenario", "rtt ms", "runs", "gap p50/p95 ms", "direct again p50/p95 ms", "handshakes", "path at the end"],
    scenarios.map(({ name, rttMs, runs }) => [
      name,
      String(rttMs),
      String(runs.length),
      ms(spread(runs.map(({ gapMs }) => gapMs))),
      ms(spread(runs.flatMap(({ directAgainMs }) => directAgainMs ?? []))),
      [...new Set(runs.map(({ handshakes }) => handshakes))].join(", "),
      [...new Set(runs.map(({ path }) => path))].join(", "),
    ]),
  );
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
