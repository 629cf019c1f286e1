/** What the lab's pages have in common: no scripts, readable without a stylesheet too. */
import type { Spread } from "./judge.ts";

export const quote = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

/** Median / 95th percentile. */
export const ms = (value: Spread | null): string =>
  value ? `${Math.round(value.p50)} / ${Math.round(value.p95)}` : "–";

/** `body` is HTML, `title` is text. */
export const page = (title: string, body: string): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Adit: ${quote(title)}</title>
<style>
  body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c2126; background: #fff }
  table { border-collapse: collapse; margin: 1rem 0 2rem; width: 100% }
  th, td { border: 1px solid #c9ced4; padding: .4rem .55rem; text-align: left; vertical-align: top; font-variant-numeric: tabular-nums }
  th { background: #f1f3f5; font-weight: 600 }
  .direct { background: #e3f4e6 } .relay { background: #fdf1d8 } .wrong { background: #f9d7d5 }
  small { color: #555d66; display: block }
</style>
</head>
<body>
<h1>${quote(title)}</h1>
${body}
</body>
</html>
`;
