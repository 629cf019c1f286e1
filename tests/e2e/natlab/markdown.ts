/** The tables of docs/nat.md, written anew from the figures, each between two comments of that page. */
import type { PairCell, ScenarioCell, Spread } from "./judge.ts";
import { ms } from "./page.ts";
import { SCENARIOS } from "./scenarios/index.ts";
import { distinct, type Overview, overview, scenarioSpreads } from "./table.ts";

const begins = (block: string) => `<!-- natlab: ${block} -->\n`;
const ENDS = "<!-- natlab: end -->\n";

/** `page` with what stands between the comments `<!-- natlab: BLOCK -->` and `<!-- natlab: end -->` replaced. @throws when they are not there. */
export function withBlock(page: string, block: string, text: string): string {
  const from = page.indexOf(begins(block));
  const to = page.indexOf(ENDS, from);
  if (from < 0 || to < 0)
    throw new Error(`the page has no ${begins(block)}and ${ENDS}for its figures to stand between`);
  return `${page.slice(0, from)}${begins(block)}\n${text}\n${page.slice(to)}`;
}

/** Those of all pairs that readers of docs/nat.md are most likely behind, and what they are called there. */
const TYPICAL: readonly (readonly [pair: string, agent: string, connector: string])[] = [
  ["eim-apdf:eim-apdf", "EIM / APDF", "EIM / APDF"],
  ["apdm-apdf:eim-adf", "APDM / APDF", "EIM / ADF"],
  ["eim-adf:apdm-apdf", "EIM / ADF", "APDM / APDF"],
  ["apdm-apdf-sequential:eim-apdf", "APDM / APDF, ports that count", "EIM / APDF"],
  ["eim-apdf:apdm-apdf-sequential", "EIM / APDF", "APDM / APDF, ports that count"],
  ["apdm-apdf:apdm-apdf", "APDM / APDF", "APDM / APDF"],
  ["apdm-apdf+firewall6:apdm-apdf+firewall6", "APDM / APDF and IPv6", "APDM / APDF and IPv6"],
  ["open:open@eim-apdf", "in one LAN", "with the other"],
  ["eim-apdf+no-udp:eim-apdf", "UDP blocked", "EIM / APDF"],
];

/** What a whole matrix came to, and its typical pairs. */
export function matrixBlock(cells: readonly PairCell[]): string {
  const sum = (count: (cell: PairCell) => number) => cells.reduce((total, cell) => total + count(cell), 0);
  const pairs = new Set(cells.map(({ pair }) => pair)).size;
  const others = cells.filter(({ asExpected, runs }) => asExpected < runs);
  const elsewhere = others.map(({ pair, rttMs, paths }) => `\`${pair}\` at ${rttMs} ms (${paths})`);
  const told = elsewhere.length > 0 ? `; elsewhere went ${elsewhere.join(", ")}` : "";
  const typical = cells.flatMap((cell) =>
    TYPICAL.filter(([pair]) => pair === cell.pair).map(([, agent, connector]) => ({ agent, connector, ...cell })),
  );
  return [
    `${pairs} pairs, ${sum(({ runs }) => runs)} sessions: the first byte came over the relay in ${sum(({ relayFirst }) => relayFirst)}, and ${sum(
      ({ asExpected }) => asExpected,
    )} ended where the table above says${told}.`,
    "",
    ...table(
      ["round trip", "pairs", "sessions", "first byte: median of the medians / worst 95th percentile", "direct"],
      overview(cells).map(({ rttMs, pairs, sessions, firstByte, direct }) => [
        `${rttMs} ms`,
        String(pairs),
        String(sessions),
        extremes(firstByte),
        extremes(direct),
      ]),
    ),
    "",
    ...table(
      ["agent", "connector", "round trip", "first byte", "direct"],
      typical.map(({ agent, connector, rttMs, firstByte, direct }) => [
        agent,
        connector,
        `${rttMs} ms`,
        ms(firstByte),
        direct ? ms(direct) : "relayed",
      ]),
    ),
    "",
  ].join("\n");
}

const extremes = (value: Overview["direct"]) =>
  value ? `${Math.round(value.median)} / ${Math.round(value.worst)}` : "–";

/** One line for each change of the network, with the gaps of each round trip beside each other. */
export function changesBlock(cells: readonly ScenarioCell[]): string {
  const rtts = [...new Set(cells.map(({ rttMs }) => rttMs))];
  const names = [...new Set(cells.map(({ name }) => name))];
  const rows = names.map((name) => {
    const of = rtts.map((rttMs) => cells.find((cell) => cell.name === name && cell.rttMs === rttMs));
    const spreads = of.map((cell) => (cell ? { cell, ...scenarioSpreads(cell) } : null));
    return [
      name,
      ...spreads.map((found) => ms(found?.gap ?? null)),
      String(SCENARIOS[name]?.aimMs ?? "–"),
      ...spreads.map((found) => (found ? afterwards(found.cell, found.directAgain) : "–")),
      ...spreads.map((found) => (found ? inSeconds(found.transfer) : "–")),
      distinct(of.flatMap((cell) => cell?.runs.map(({ handshakes }) => handshakes) ?? [])),
    ];
  });
  const each = (what: string) => rtts.map((rttMs) => `${what}, ${rttMs} ms`);
  return [
    ...table(["change", ...each("gap"), "aim", ...each("direct again"), ...each("transfer in s"), "handshakes"], rows),
    "",
  ].join("\n");
}

const inSeconds = (value: Spread | null): string =>
  value ? `${(value.p50 / 1000).toFixed(1)} / ${(value.p95 / 1000).toFixed(1)}` : "–";

function afterwards({ runs }: ScenarioCell, directAgain: Spread | null): string {
  if (directAgain) return ms(directAgain);
  return runs.every(({ path }) => path === "direct") ? "stayed direct" : "stays relayed";
}

const table = (head: readonly string[], rows: readonly (readonly string[])[]): readonly string[] =>
  [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`);
