/** The command line of npm run natlab. */
import { parseArgs } from "node:util";
import { EXTRAS } from "./extras/index.ts";
import { CHANGES, FAST, MATRIX, NETCHECKS } from "./plan.ts";
import { SCENARIOS } from "./scenarios/index.ts";

export interface Options {
  /** Null: those that belong to what else was asked for. */
  readonly pairs: readonly string[] | null;
  readonly scenarios: readonly string[] | null;
  readonly netchecks: readonly string[] | null;
  readonly rtts: readonly number[];
  readonly runs: number;
  readonly sizeBytes: number;
  readonly labs: number;
  readonly fast: boolean;
  readonly html: string | null;
  readonly markdown: string | null;
  readonly json: string | null;
}

export const help = () => `Usage: npm run natlab -- [options]

Real NATs (network namespaces and nftables), the real programs, and what came of it. First every kind of NAT is probed:
no result counts before the NATs are what they are called. Then each pair, agent:connector, is tried and compared with
the oracle of packages/sim. Without options: the whole matrix, a quarter of an hour. Exit status 1 when something is
not as it has to be, 2 for the command line.

  --fast               what CI runs: ${FAST.kinds.length} kinds probed, ${FAST.pairs.length} pairs, 1 run, ${FAST.scenarios.length} scenarios; less than a minute
  --pair PAIR          this pair alone; may be repeated. AGENT:CONNECTOR, or AGENT:CONNECTOR@NAT when both are behind
                       that NAT. A side is "open", or a NAT, or several, the innermost first: eim-eif/apdm-apdf; then
                       what else there is about it: +no-udp. A NAT is a mapping and a filtering of RFC 4787, then how it
                       chooses ports: eim-apdf, adm-adf, apdm-adf-sequential, eim-adf-hashed; then -hairpin, -isolated
  --scenario NAME      the network changes under a transfer, or is a bad one; may be repeated. "changes": the ${CHANGES.length} of
                       docs/nat-changes.html, "all": each there is
  --netcheck SIDE      what adit-agent netcheck says behind such a side, against what was built; may be repeated,
                       or "all"
  --list               the names: scenarios, what a side may have about it, the pairs of the matrix
  --runs N             sessions a pair and round trip (default 10), or runs of a scenario (default 1)
  --rtt MS             round trip between any two, may be repeated (default 0 and 40)
  --size BYTES         of the transfer in a scenario (default 200000000)
  --labs N             labs beside each other (default 2), and three times as many of those in which most is waiting
  --html FILE          where the page is written (docs/nat-matrix.html for a complete matrix, docs/nat-changes.html for
                       all changes, in 10 runs each or more; else nowhere)
  --markdown FILE      the page whose tables are written anew, between the comments that are there for it (docs/nat.md
                       when its HTML page is written)
  --json FILE          the raw figures, written again after each pair or scenario. If the file is there, what went well
                       in it is not run again

  npm run natlab -- --pair apdm-apdf:eim-eif --runs 3         one pair
  npm run natlab -- --pair open:open@eim-apdf-isolated        both behind one NAT, not reaching each other inside
  npm run natlab -- --scenario agent-roams --rtt 40           from Wi-Fi to cell, 200 MB on the way
  npm run natlab -- --netcheck eim-apdf+no-udp                what a user is told where UDP is blocked

ADIT_E2E_KEEP=1 shows all that the programs say, ADIT_NATLAB_LOG=debug lets them say more, ADIT_NATLAB_TRACE=DIR keeps
their traces for npm run trace-plot, ADIT_E2E_BIN=DIR runs the programs of another build.
`;

/** What the options' names are. */
export function list(): string {
  const words = (things: Readonly<Record<string, { readonly words: string }>>, mark: string) =>
    Object.entries(things).map(([name, { words }]) => `  ${`${mark}${name}`.padEnd(27)} ${words}`);
  return [
    `--scenario (*: among "changes")`,
    ...words(SCENARIOS, "").map((line, index) =>
      CHANGES.includes(Object.keys(SCENARIOS)[index] ?? "") ? `*${line.slice(1)}` : line,
    ),
    "",
    "what a side may have about it",
    ...words(EXTRAS, "+"),
    "",
    "the matrix",
    ...MATRIX.map((pair) => `  ${pair}`),
    "",
    "--netcheck all",
    ...NETCHECKS.map((side) => `  ${side}`),
    "",
  ].join("\n");
}

/** A text: what to print instead of doing anything. @throws RangeError, or what parseArgs throws. */
export function readOptions(args: readonly string[]): Options | string {
  const { values: given } = parseArgs({
    args: [...args],
    options: {
      pair: { type: "string", multiple: true },
      runs: { type: "string" },
      rtt: { type: "string", multiple: true },
      fast: { type: "boolean", default: false },
      scenario: { type: "string", multiple: true },
      netcheck: { type: "string", multiple: true },
      size: { type: "string" },
      labs: { type: "string" },
      html: { type: "string" },
      markdown: { type: "string" },
      json: { type: "string" },
      list: { type: "boolean", default: false },
      help: { type: "boolean", default: false, short: "h" },
    },
  });
  if (given.help) return help();
  if (given.list) return list();
  const { fast } = given;
  const scenarios = given.scenario?.flatMap((name) =>
    name === "all" ? Object.keys(SCENARIOS) : name === "changes" ? CHANGES : name,
  );
  return {
    pairs: given.pair ?? null,
    scenarios: scenarios ?? null,
    netchecks: given.netcheck?.flatMap((side) => (side === "all" ? NETCHECKS : side)) ?? null,
    rtts: (given.rtt ?? (fast ? ["0"] : ["0", "40"])).map((rtt) => whole("rtt", rtt, 0, 0)),
    runs: whole("runs", given.runs, fast || scenarios ? 1 : 10),
    sizeBytes: whole("size", given.size, fast ? FAST.scenarioBytes : 200_000_000),
    labs: whole("labs", given.labs, 2),
    fast,
    html: given.html ?? null,
    markdown: given.markdown ?? null,
    json: given.json ?? null,
  };
}

function whole(name: string, text: string | undefined, otherwise: number, least = 1): number {
  const value = Number(text ?? otherwise);
  if (!Number.isInteger(value) || value < least)
    throw new RangeError(`--${name} ${text}: a whole number from ${least} was expected`);
  return value;
}
