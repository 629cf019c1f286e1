/** What deploy/ says is what the program does. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "@adit/harness";
import { readConfigFile } from "@adit/program";
import { readPolicyFile } from "../src/access-policy.ts";
import { makeProgram } from "../src/program.ts";
import { NO_REFUSALS } from "../src/refusals.ts";

/** The repository, seen from test/ and from dist/test/. */
const root = join(import.meta.dirname, import.meta.dirname.includes("dist") ? "../../../.." : "../../..");
const text = (path: string): string => readFileSync(join(root, path), "utf8");

const metricsIn = (source: string): Set<string> => new Set(source.match(/\b(adit|process)_[a-z_]+\b/g) ?? []);

/** What stands in the program's text as the name of a metric, and what a histogram's name becomes. */
function metricsServed(): Set<string> {
  const source = text("packages/intermediate/src/status.ts");
  const served = metricsIn(source);
  for (const [, name] of source.matchAll(/\.metric\("([a-z_]+)"/g)) {
    for (const suffix of ["_bucket", "_sum", "_count"]) served.add(`${name}${suffix}`);
  }
  return served;
}

test("the dashboard and the alerts ask for metrics that there are, and the dashboard is JSON", async (t) => {
  const served = metricsServed();
  const dashboard = JSON.parse(text("deploy/grafana/adit-intermediate.json"));
  t.ok(dashboard.panels.length > 10);
  t.equal(new Set(dashboard.panels.map(({ id }: { id: number }) => id)).size, dashboard.panels.length);
  for (const path of ["deploy/grafana/adit-intermediate.json", "deploy/prometheus/alerts.yml"]) {
    const asked = metricsIn(text(path));
    t.ok(asked.size > 8, path);
    for (const metric of asked) t.ok(served.has(metric), `${path} asks for ${metric}`);
  }
});

test("each metric is explained in docs/operations.md", async (t) => {
  const operations = text("docs/operations.md");
  const sources = [
    "intermediate/src/status",
    "program/src/peer-metrics",
    "program/src/streams",
    "program/src/datagrams",
  ];
  for (const source of sources) {
    const metrics = metricsIn(text(`packages/${source}.ts`));
    t.ok(metrics.size > 3, source);
    for (const metric of metrics) t.ok(operations.includes(`\`${metric}\``), metric);
  }
});

test("the configuration and the policy in deploy/ are taken", async (t) => {
  t.ok(readPolicyFile(join(root, "deploy/policy.toml")).limits.relayBytesPerSecond === 12_500_000);
  const config = join(root, "deploy/intermediate.toml");
  t.equal(makeProgram().parse(["--config", config], readConfigFile).kind, "run");
});

test("every reason for a refusal stands in docs/operations.md, and every limit of the policy file", async (t) => {
  const operations = text("docs/operations.md");
  const reasons = Object.keys(NO_REFUSALS);
  t.ok(reasons.length > 15);
  for (const reason of reasons) t.ok(operations.includes(`\`${reason}\``), `the reason ${reason} is explained`);
  const limits = [...text("packages/intermediate/src/access-policy.ts").matchAll(/^ {2}"([a-z-]+)": amount/gm)];
  t.ok(limits.length > 5);
  for (const [, limit] of limits) t.ok(operations.includes(`\`${limit}\``), `the limit ${limit} is explained`);
});
