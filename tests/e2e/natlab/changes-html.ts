import type { ScenarioCell } from "./judge.ts";
import { ms, page, quote } from "./page.ts";
import { SCENARIOS } from "./scenarios/index.ts";
import { distinct, scenarioSpreads } from "./table.ts";

/** One table: what happens to the network under a transfer, and what the application saw of it. */
export function changesPage(cells: readonly ScenarioCell[], version: string): string {
  return page(
    "networks that change",
    `<p>Adit ${quote(version)}. The three programs behind real NATs, and a change in the middle of one transfer, whose hash is checked at the end. Written by
<code>npm run natlab -- --scenario changes --runs 10 --rtt 40</code>; <a href="nat.md">nat.md</a> says how to read it.
All times in milliseconds, median / 95th percentile (of ten runs: the worst). The gap is the longest silence that the application saw from the change on; it
moved, where it did, to another path after so long; direct again counts from the change, or from its end where it has one.</p>
<table>
<tr><th>change</th><th>round trip</th><th>runs</th><th>gap</th><th>aim</th><th>moved</th><th>direct again</th><th>transfer</th><th>QUIC handshakes</th><th>path at the end</th></tr>
${cells.map(row).join("\n")}
</table>`,
  );
}

function row(cell: ScenarioCell): string {
  const { name, rttMs, runs, sizeBytes, problems } = cell;
  const { words, aimMs, maxBytes = sizeBytes } = SCENARIOS[name] ?? {};
  const { gap, moved, directAgain, transfer } = scenarioSpreads(cell);
  const columns = [
    `${rttMs} ms`,
    String(runs.length),
    `<b>${ms(gap)}</b>`,
    String(aimMs ?? "–"),
    ms(moved),
    ms(directAgain),
    transfer
      ? `${Math.round(Math.min(sizeBytes, maxBytes) / 1e6)} MB in ${(transfer.p50 / 1000).toFixed(1)} / ${(transfer.p95 / 1000).toFixed(1)} s`
      : "–",
    distinct(runs.map(({ handshakes }) => handshakes)),
    distinct(runs.map(({ path }) => path)),
  ];
  const wrong = problems.map((problem) => `<small>${quote(problem.split("\n")[0] ?? "")}</small>`).join("");
  return `<tr class="${problems.length > 0 ? "wrong" : "direct"}"><td><b>${quote(name)}</b><small>${quote(words ?? "")}</small>${wrong}</td>${columns
    .map((column) => `<td>${column}</td>`)
    .join("")}</tr>`;
}
