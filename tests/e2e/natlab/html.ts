import type { PairCell } from "./judge.ts";
import { ms, page, quote } from "./page.ts";
import { type Overview, overview } from "./table.ts";

/** One page without scripts: the kinds against each other for each round trip, then everything else that was tried. */
export function htmlPage(cells: readonly PairCell[], kinds: readonly string[], version: string): string {
  const rtts = [...new Set(cells.map(({ rttMs }) => rttMs))];
  const inMatrix = new Set(kinds.flatMap((agent) => kinds.map((connector) => `${agent}:${connector}`)));
  const rest = cells.filter(({ pair }) => !inMatrix.has(pair));
  return page(
    "NAT matrix",
    `<p>Adit ${quote(version)}. The three programs behind real NATs (Linux network namespaces and nftables), as many sessions as each cell says. Written by
<code>npm run natlab</code>; <a href="nat.md">nat.md</a> says how to read it. NATs by RFC 4787: mapping endpoint-independent (EIM) or
address-and-port-dependent (APDM); filtering endpoint-independent (EIF), address-dependent (ADF) or address-and-port-dependent (APDF).
All times in milliseconds, median / 95th percentile, counted from the moment when the agent's listener took the user's connection,
with nothing connected before: they hold signaling, the relay, the handshake and the first request.</p>
${summary(cells)}
${rtts.map((rttMs) => matrix(cells, kinds, rttMs)).join("\n")}
${rest.length > 0 ? others(rest) : ""}`,
  );
}

function summary(cells: readonly PairCell[]): string {
  const words = (value: Overview["direct"]) =>
    value ? `${Math.round(value.median)} / ${Math.round(value.worst)}` : "–";
  const rows = overview(cells).map(
    ({ rttMs, pairs, sessions, firstByte, direct }) =>
      `<tr><td>${rttMs} ms</td><td>${pairs}</td><td>${sessions}</td><td>${words(firstByte)}</td><td>${words(direct)}</td></tr>`,
  );
  return `<table>
<tr><th>round trip</th><th>pairs</th><th>sessions</th><th>first byte: median of the medians / worst 95th percentile</th><th>direct</th></tr>
${rows.join("\n")}
</table>`;
}

function matrix(cells: readonly PairCell[], kinds: readonly string[], rttMs: number): string {
  const cellOf = (agent: string, connector: string) =>
    cells.find((cell) => cell.rttMs === rttMs && cell.pair === `${agent}:${connector}`);
  const name = (kind: string) => quote(kind.toUpperCase().replace("-", " / "));
  return `<h2>${rttMs} ms round trip</h2>
<table>
<tr><th>agent ↓ connector →</th>${kinds.map((kind) => `<th>${name(kind)}</th>`).join("")}</tr>
${kinds
  .map(
    (agent) =>
      `<tr><th>${name(agent)}</th>${kinds.map((connector) => matrixCell(cellOf(agent, connector))).join("")}</tr>`,
  )
  .join("\n")}
</table>`;
}

function matrixCell(cell: PairCell | undefined): string {
  if (!cell) return "<td>not tried</td>";
  return `<td class="${colour(cell)}"><b>${quote(cell.paths)}</b>, ${cell.runs} sessions<small>${quote(cell.types)}</small><small>first byte ${ms(cell.firstByte)}</small>${
    cell.direct ? `<small>direct ${ms(cell.direct)}</small>` : ""
  }${wrong(cell)}</td>`;
}

function others(cells: readonly PairCell[]): string {
  const row = (cell: PairCell) =>
    `<tr><td>${quote(cell.pair)}</td><td>${cell.rttMs}</td><td class="${colour(cell)}"><b>${quote(cell.paths)}</b>, ${cell.runs} sessions${wrong(
      cell,
    )}</td><td>${quote(cell.types)}</td><td>${ms(cell.firstByte)}</td><td>${ms(cell.direct)}</td></tr>`;
  return `<h2>More</h2>
<p>“open” is a public address; NATs in a row, as with a carrier's NAT, stand with the innermost first; both sides are behind what stands after @.</p>
<table>
<tr><th>agent:connector</th><th>round trip</th><th>path</th><th>candidates</th><th>first byte</th><th>direct</th></tr>
${cells.map(row).join("\n")}
</table>`;
}

const colour = (cell: PairCell) => (cell.problems.length > 0 ? "wrong" : cell.expected);
const wrong = (cell: PairCell) =>
  cell.problems.map((problem) => `<small>${quote(problem.split("\n")[0] ?? "")}</small>`).join("");
