import { test } from "@adit/harness";
import { optionsInHelp, readInEachForm, type Samples } from "@adit/program/testing";
import { makeProgram } from "../src/program.ts";

const PEER_ID = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

const program = makeProgram();

const common: Samples = { "state-dir": "/var/lib/adit", log: "json", "log-level": "warn" };

/** Each command, and a value for each option. */
const commands: readonly [string[], Samples][] = [
  [
    [],
    {
      ...common,
      listen: "127.0.0.1:4433",
      "signaling-tls": ["0.0.0.0:443", "off"],
      stun: ["0.0.0.0:3478", "[::]:3478"],
      "stun-tls": "0.0.0.0:5349",
      "tls-cert": "/etc/adit/chain.pem",
      "tls-key": "/etc/adit/key.pem",
      "alternate-address": "192.0.2.2",
      "external-ip": ["192.0.2.1", "2001:db8::1"],
      "relay-ports": "50000-50100",
      admin: "127.0.0.1:9999",
      "allow-private-relay": true,
      "relay-allow": ["10.0.0.0/8"],
      "relay-deny": "192.0.2.0/24",
      "alternate-server": "192.0.2.9:3478",
      allow: [PEER_ID],
      realm: "example.org",
      "turn-user": ["bob:secret:with:colons"],
      "turn-secret": "secret",
      policy: "/etc/adit/policy.toml",
      drain: "1m",
    },
  ],
  [["names", "list"], { ...common, json: true }],
  [["status"], { ...common, admin: "127.0.0.1:9999", json: true, check: "ready" }],
  [["id"], common],
];

test("every option of every command can be a flag, or stand in a TOML or JSON file, and means the same", (t) => {
  for (const [command, samples] of commands) {
    t.same([...optionsInHelp(program, command)].sort(), Object.keys(samples).sort(), command.join(" "));
    for (const { name, forms } of readInEachForm(program, command, {}, samples)) {
      t.notEqual(forms[0], "null", `${command[0] ?? ""} --${name}`);
      t.same(forms, Array(3).fill(forms[0]), `${command[0] ?? ""} --${name}`);
    }
  }
});
