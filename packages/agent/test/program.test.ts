import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "@adit/harness";
import { optionsInHelp, readInEachForm, type Samples } from "@adit/program/testing";
import { makeProgram } from "../src/program.ts";

const PEER_ID = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

const program = makeProgram(() => Promise.reject(new Error("nothing is started here")));

const common: Samples = { "state-dir": "/var/lib/adit", log: "json", "log-level": "warn" };
const link: Samples = {
  ...common,
  intermediate: [`${PEER_ID}@relay.example.org:4433`, "[2001:db8::1]:4433"],
  to: "office",
  bind: "127.0.0.2:4000",
  "ice-policy": "relay",
  "congestion-control": "bbr",
  "port-mapping": "off",
  wait: "3s",
  trace: "/tmp/trace.jsonl",
};

/** Each command that has options of its own, what it cannot do without, and a value for each option. */
const commands: readonly [string[], Samples, Samples][] = [
  [
    ["forward"],
    { to: "office", local: "9000=web" },
    { ...link, local: ["0=web", "udp:127.0.0.2:5353=dns"], "udp-idle": "1m", admin: "127.0.0.1:9999" },
  ],
  [["pipe", "ssh"], { to: "office" }, link],
  [["ping"], { to: "office" }, { ...link, count: "3", "until-direct": true, json: true }],
  [
    ["netcheck"],
    {},
    {
      ...common,
      intermediate: "relay.example.org:4433",
      stun: ["stun.example.org:3478"],
      "port-mapping": "off",
      "binding-lifetime": true,
      json: true,
    },
  ],
  [["status"], {}, { ...common, admin: "127.0.0.1:9999", json: true, check: "direct" }],
  [["id"], {}, common],
  [["forget", "office"], {}, common],
];

test("every option of every command can be a flag, or stand in a TOML or JSON file, and means the same", (t) => {
  for (const [command, required, samples] of commands) {
    t.same([...optionsInHelp(program, command)].sort(), Object.keys(samples).sort(), command.join(" "));
    for (const { name, forms } of readInEachForm(program, command, required, samples)) {
      t.notEqual(forms[0], "null", `${command[0]} --${name}`);
      t.same(forms, Array(3).fill(forms[0]), `${command[0]} --${name}`);
    }
  }
});

/** The repository, seen from test/ and from dist/test/. */
const root = join(import.meta.dirname, import.meta.dirname.includes("dist") ? "../../../.." : "../../..");

test("what deploy/ has for the agent is taken: the file, and the unit's command line", (t) => {
  const config = join(root, "deploy/agent.toml");
  const unit = readFileSync(join(root, "deploy/systemd/adit-agent.service"), "utf8");
  const [, words = ""] = t.must(/^ExecStart=\S+\/adit-agent (.*)$/m.exec(unit));
  t.ok(words.includes("--config /etc/adit/agent.toml"));
  const args = words.replace("/etc/adit/agent.toml", config).split(" ");
  const invocation = program.parse(args);
  if (invocation.kind !== "run") return t.fail("it was not taken");
  t.same([invocation.command, invocation.stateDir, invocation.log], ["forward", "/var/lib/adit-agent", "json"]);
});
