import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "@adit/harness";
import { optionsInHelp, readInEachForm, type Samples } from "@adit/program/testing";
import { makeProgram } from "../src/program.ts";

const PEER_ID = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

const program = makeProgram(() => Promise.reject(new Error("nothing is started here")));

const common: Samples = { "state-dir": "/var/lib/adit", log: "json", "log-level": "warn" };
const required: Samples = { intermediate: "relay.example.org:4433", name: "office", expose: "web=tcp://127.0.0.1:80" };

/** Each command, what it cannot do without, and a value for each option. */
const commands: readonly [string[], Samples, Samples][] = [
  [
    [],
    required,
    {
      ...common,
      intermediate: [`${PEER_ID}@relay.example.org:4433`, "192.0.2.1:4433"],
      name: "home",
      expose: ["web=tcp://127.0.0.1:8080", "dns=udp://[::1]:53", "db=tcp://db.internal:5432"],
      allow: [PEER_ID, "any"],
      bind: "127.0.0.3",
      "ice-policy": "relay",
      "congestion-control": "reno",
      "port-mapping": "off",
      "udp-idle": "30s",
      trace: "/tmp/trace.jsonl",
      admin: "127.0.0.1:9999",
    },
  ],
  [["ticket"], {}, { ...common, intermediate: "192.0.2.1:4433", service: ["web", "ssh"], expires: "2h" }],
  [["status"], {}, { ...common, admin: "127.0.0.1:9999", json: true, check: "ready" }],
  [["id"], {}, common],
  [["forget", "192.0.2.1:4433"], {}, common],
];

test("every option of every command can be a flag, or stand in a TOML or JSON file, and means the same", (t) => {
  for (const [command, needed, samples] of commands) {
    t.same([...optionsInHelp(program, command)].sort(), Object.keys(samples).sort(), command.join(" "));
    for (const { name, forms } of readInEachForm(program, command, needed, samples)) {
      t.notEqual(forms[0], "null", `${command[0] ?? ""} --${name}`);
      t.same(forms, Array(3).fill(forms[0]), `${command[0] ?? ""} --${name}`);
    }
  }
});

/** The repository, seen from test/ and from dist/test/. */
const root = join(import.meta.dirname, import.meta.dirname.includes("dist") ? "../../../.." : "../../..");

test("what deploy/ has for the connector is taken: the file, and the unit's command line", (t) => {
  const config = join(root, "deploy/connector.toml");
  const unit = readFileSync(join(root, "deploy/systemd/adit-connector.service"), "utf8");
  const [, words = ""] = t.must(/^ExecStart=\S+\/adit-connector (.*)$/m.exec(unit));
  t.ok(words.includes("--config /etc/adit/connector.toml"));
  const args = words.replace("/etc/adit/connector.toml", config).split(" ");
  const invocation = program.parse(args);
  if (invocation.kind !== "run") return t.fail("it was not taken");
  t.same(
    [invocation.command, invocation.stateDir, invocation.log],
    ["adit-connector", "/var/lib/adit-connector", "json"],
  );
});
