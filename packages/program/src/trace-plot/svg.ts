import type { PathChange, TracedSession } from "./read.ts";
import { type Bin, binsOf, pathSpans } from "./series.ts";

const WIDTH = 1200;
const LEFT = 76;
const RIGHT = 24;
const PLOT_WIDTH = WIDTH - LEFT - RIGHT;
const MAX_BINS = 600;

const COLOURS = {
  text: "#1c2126",
  faint: "#6b747d",
  grid: "#e4e8ec",
  received: "#1864ab",
  sent: "#c2571a",
  rtt: "#2b8a3e",
  relayRtt: "#b07d10",
  window: "#5f3dc4",
  lost: "#c92a2a",
} as const;

const PATHS: Readonly<Record<string, { readonly fill: string; readonly ink: string }>> = {
  direct: { fill: "#b7e4c0", ink: "#1b5e2b" },
  relay: { fill: "#ffe0a3", ink: "#7a4f00" },
  suspended: { fill: "#f5b5b1", ink: "#8a1c16" },
  connecting: { fill: "#dfe3e8", ink: "#4a525a" },
};

interface Curve {
  readonly name: string;
  readonly colour: string;
  readonly of: (bin: Bin) => number | null;
  readonly filled?: boolean;
  readonly dashed?: boolean;
}

interface Panel {
  readonly title: string;
  readonly unit: string;
  readonly height: number;
  readonly curves: readonly Curve[];
}

const PANELS: readonly Panel[] = [
  {
    title: "Throughput",
    unit: "Mb/s",
    height: 210,
    curves: [
      { name: "received", colour: COLOURS.received, of: (bin) => (bin.receivedRate * 8) / 1e6, filled: true },
      { name: "sent", colour: COLOURS.sent, of: (bin) => (bin.sentRate * 8) / 1e6 },
    ],
  },
  {
    title: "Round trip",
    unit: "ms",
    height: 130,
    curves: [
      { name: "relay", colour: COLOURS.relayRtt, of: (bin) => bin.relayRttMs, dashed: true },
      { name: "active path", colour: COLOURS.rtt, of: (bin) => bin.rttMs },
    ],
  },
  {
    title: "Congestion window",
    unit: "KiB",
    height: 110,
    curves: [
      {
        name: "window",
        colour: COLOURS.window,
        of: (bin) => (bin.congestionWindowBytes === null ? null : bin.congestionWindowBytes / 1024),
      },
    ],
  },
  {
    title: "Lost packets",
    unit: "packets/s",
    height: 70,
    curves: [
      {
        name: "lost",
        colour: COLOURS.lost,
        of: (bin) => (bin.packetsLost * 1000) / (bin.toMs - bin.fromMs),
        filled: true,
      },
    ],
  },
];

const BAND_TOP = 84;
const BAND_HEIGHT = 28;
const PANEL_GAP = 46;

/** One picture of a session: which path carried it when, and below on the same axis of time throughput, round trips, window and losses. */
export function plotSession(session: TracedSession): string {
  const durationMs = Math.max(1, session.endMs - session.startMs);
  const x = (ms: number): number => LEFT + (Math.min(Math.max(ms, 0), durationMs) / durationMs) * PLOT_WIDTH;
  const bins = binsOf(session, MAX_BINS);
  const parts: string[] = [];
  let top = BAND_TOP + BAND_HEIGHT + PANEL_GAP;
  const firstTop = top;
  for (const panel of PANELS) {
    parts.push(drawPanel(panel, bins, x, top));
    top += panel.height + PANEL_GAP;
  }
  const bottom = top - PANEL_GAP;
  const height = bottom + 44;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">
<title>${quote(titleOf(session))}</title>
<style>text { font: 13px/1 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: ${COLOURS.text}; font-variant-numeric: tabular-nums; paint-order: stroke; stroke: #fff; stroke-width: 3px; stroke-linejoin: round }
.faint { fill: ${COLOURS.faint}; font-size: 12px; font-weight: 400 } .onband { font-weight: 600; stroke: none } .head { font-size: 19px; font-weight: 600 } .panel { font-weight: 600 }</style>
<rect width="100%" height="100%" fill="#fff"/>
${drawHead(session)}
${drawTime(durationMs, x, firstTop, bottom)}
${drawBand(session, x)}
${drawSilences(session, x, bottom)}
${parts.join("\n")}
${drawChanges(session, x, bottom)}
</svg>
`;
}

const titleOf = ({ program, peer, id }: TracedSession): string => `${program} and ${peer ?? "its peer"}, session ${id}`;

function drawHead(session: TracedSession): string {
  const { samples, changes, startedAt, startMs, endMs } = session;
  const last = samples.at(-1);
  const facts = [
    startedAt.replace("T", " ").replace(/\.\d+Z$/, " UTC"),
    `${seconds(endMs - startMs)}`,
    `${bytes(last?.receivedBytes ?? 0)} received`,
    `${bytes(last?.sentBytes ?? 0)} sent`,
    plural(last?.packetsLost ?? 0, "packet lost", "packets lost"),
    plural(changes.length, "path change", "path changes"),
  ];
  return `<text class="head" x="${LEFT}" y="34">${quote(session.peer ?? "session")}<tspan class="faint" dx="12">${quote(session.program)}, session ${quote(session.id)}</tspan></text>
<text class="faint" x="${LEFT}" y="58">${quote(facts.join("  ·  "))}</text>`;
}

/** The strip of paths. */
function drawBand(session: TracedSession, x: (ms: number) => number): string {
  return pathSpans(session)
    .map(({ path, fromMs, toMs }) => {
      const colour = PATHS[path] ?? { fill: "#dfe3e8", ink: COLOURS.text };
      const [left, right] = [x(fromMs), x(toMs)];
      const label =
        right - left > path.length * 8 + 12
          ? `<text x="${n((left + right) / 2)}" y="${BAND_TOP + 18}" text-anchor="middle" class="onband" style="fill: ${colour.ink}">${quote(path)}</text>`
          : "";
      return `<rect x="${n(left)}" y="${BAND_TOP}" width="${n(right - left)}" height="${BAND_HEIGHT}" fill="${colour.fill}"><title>${quote(path)}: ${seconds(toMs - fromMs)}</title></rect>${label}`;
    })
    .join("\n");
}

/** When no packet came at all: from the last one on the old path to the first on the new. */
function drawSilences(session: TracedSession, x: (ms: number) => number, bottom: number): string {
  const top = BAND_TOP + BAND_HEIGHT;
  return session.changes
    .filter(({ gapMs }) => gapMs !== null)
    .map(({ ms, gapMs }) => {
      const [from, to] = [x(ms - session.startMs - (gapMs ?? 0)), x(ms - session.startMs)];
      return `<rect x="${n(from)}" y="${top}" width="${n(to - from)}" height="${n(bottom - top)}" fill="${COLOURS.lost}" opacity=".09"/>`;
    })
    .join("\n");
}

/** Nearer to the one before, a gap is not written: the line's tooltip has it. */
const LABEL_WIDTH = 84;

/** A line through all panels where the first packet came on the new path. */
function drawChanges(session: TracedSession, x: (ms: number) => number, bottom: number): string {
  let labelledTo = 0;
  const draw = ({ ms, from, to, reason, gapMs }: PathChange): string => {
    const atMs = ms - session.startMs;
    const at = x(atMs);
    const gap = gapMs === null ? "" : `${Math.round(gapMs)} ms gap`;
    const fits = gap !== "" && at >= labelledTo && at + LABEL_WIDTH <= WIDTH;
    if (fits) labelledTo = at + LABEL_WIDTH;
    const label = fits ? `<text class="faint" x="${n(at + 5)}" y="${BAND_TOP + BAND_HEIGHT + 16}">${gap}</text>` : "";
    const told = `${seconds(atMs)}: ${from} to ${to}, ${reason}${gap === "" ? "" : `, ${gap}`}`;
    const ink = PATHS[to]?.ink ?? COLOURS.text;
    const line = `<path d="M${n(at)} ${BAND_TOP}V${n(bottom)}" stroke="${ink}" stroke-width="1.2" stroke-dasharray="4 3" opacity=".75"/>`;
    return `<g><title>${quote(told)}</title>${line}${label}</g>`;
  };
  return session.changes.map(draw).join("\n");
}

function drawPanel(panel: Panel, bins: readonly Bin[], x: (ms: number) => number, top: number): string {
  const { title, unit, height, curves } = panel;
  const values = curves.flatMap(({ of }) => bins.map(of)).filter((value) => value !== null);
  const ticks = niceTicks(
    values.reduce((most, value) => Math.max(most, value), 0),
    Math.max(2, Math.round(height / 45)),
  );
  const most = ticks.at(-1) ?? 1;
  const y = (value: number): number => top + height - (Math.max(0, value) / most) * height;
  const grid = ticks.map(
    (tick) =>
      `<path d="M${LEFT} ${n(y(tick))}H${WIDTH - RIGHT}" stroke="${tick === 0 ? COLOURS.faint : COLOURS.grid}"/><text class="faint" x="${LEFT - 8}" y="${n(y(tick) + 4)}" text-anchor="end">${tick}</text>`,
  );
  return `<g><text class="panel" x="${LEFT}" y="${top - 12}">${title}<tspan class="faint" dx="6">${unit}</tspan></text>
${drawLegend(curves, top - 12)}
${grid.join("")}
${curves.map((curve) => drawCurve(curve, bins, x, y)).join("\n")}</g>`;
}

/** At the right, where there is more than one curve. */
function drawLegend(curves: readonly Curve[], y: number): string {
  if (curves.length < 2) return "";
  let right = WIDTH - RIGHT;
  return [...curves]
    .reverse()
    .map(({ name, colour, dashed }) => {
      const text = `<text class="faint" x="${right}" y="${y}" text-anchor="end">${name}</text>`;
      const line = right - name.length * 7 - 8;
      right = line - 38;
      return `${text}<path d="M${line - 22} ${y - 4}h18" stroke="${colour}" stroke-width="2.2"${dashed ? ' stroke-dasharray="5 3"' : ""}/>`;
    })
    .join("");
}

/** A step per bin; where a value is unknown the line has a hole. */
function drawCurve(
  curve: Curve,
  bins: readonly Bin[],
  x: (ms: number) => number,
  y: (value: number) => number,
): string {
  const runs: string[] = [];
  const areas: string[] = [];
  let run: { line: string; fromX: number; toX: number } | null = null;
  const end = (): void => {
    if (!run) return;
    runs.push(`M${run.line}`);
    areas.push(`M${n(run.fromX)} ${n(y(0))}L${run.line}V${n(y(0))}Z`);
    run = null;
  };
  for (const bin of bins) {
    const value = curve.of(bin);
    const [left, right] = [x(bin.fromMs), x(bin.toMs)];
    if (value === null) end();
    else if (!run) run = { line: `${n(left)} ${n(y(value))}H${n(right)}`, fromX: left, toX: right };
    else run = { line: `${run.line}V${n(y(value))}H${n(right)}`, fromX: run.fromX, toX: right };
  }
  end();
  if (runs.length === 0) return "";
  const area = curve.filled ? `<path d="${areas.join("")}" fill="${curve.colour}" opacity=".16"/>` : "";
  const dashes = curve.dashed ? ' stroke-dasharray="5 3"' : "";
  return `${area}<path d="${runs.join("")}" fill="none" stroke="${curve.colour}" stroke-width="1.6" stroke-linejoin="round"${dashes}/>`;
}

function drawTime(durationMs: number, x: (ms: number) => number, top: number, bottom: number): string {
  const ticks = niceTicks(durationMs / 1000, 10).filter((tick) => tick * 1000 <= durationMs);
  return ticks
    .map(
      (tick) =>
        `<path d="M${n(x(tick * 1000))} ${top}V${bottom}" stroke="${COLOURS.grid}"/><text class="faint" x="${n(x(tick * 1000))}" y="${bottom + 22}" text-anchor="middle">${tick} s</text>`,
    )
    .join("");
}

/** From 0 in steps of 1, 2 or 5 times a power of ten, the last one not below `most`. */
export function niceTicks(most: number, about: number): number[] {
  if (!(most > 0)) return [0, 1];
  const raw = most / about;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw) ?? raw;
  const count = Math.ceil(most / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, i) => Number((i * step).toPrecision(12)));
}

const n = (value: number): string => String(Math.round(value * 10) / 10);
const seconds = (ms: number): string => `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
const plural = (count: number, one: string, many: string): string => `${count} ${count === 1 ? one : many}`;

function bytes(count: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let [value, unit] = [count, 0];
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** Names come from the other side. What XML 1.0 does not allow at all is left out. */
const quote = (text: string): string =>
  text
    .replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd]/g, "")
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
