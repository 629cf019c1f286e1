import { toBase32 } from "@adit/core";
import { test } from "@adit/harness";
import * as values from "../src/values.ts";

const peer = toBase32(new Uint8Array(32).fill(7));

/** Null where the value is refused without more to say. */
function read<T>(type: values.ValueType<T>, text: string): unknown {
  const parsed = type.parse(text);
  return parsed === null ? null : JSON.parse(JSON.stringify(parsed));
}

const table: readonly [keyof typeof values & string, values.ValueType<unknown>, Record<string, unknown>][] = [
  [
    "duration",
    values.duration,
    {
      "10s": 10_000,
      "500ms": 500,
      "1.5m": 90_000,
      "24h": 86_400_000,
      "365d": 365 * 86_400_000,
      "366d": null,
      "10": null,
      "-1s": null,
      "1 s": null,
      s: null,
      "": null,
      "1e3s": null,
    },
  ],
  [
    "count",
    values.count,
    { "1": 1, "1000000": 1_000_000, "1000001": null, "0": null, "-1": null, "1.5": null, "": null },
  ],
  [
    "bindAddress",
    values.bindAddress,
    {
      "127.0.0.2": { ip: "127.0.0.2", port: 0 },
      "127.0.0.2:4000": { ip: "127.0.0.2", port: 4000 },
      "::1": { ip: "::1", port: 0 },
      "[::1]": { ip: "::1", port: 0 },
      "[::1]:4000": { ip: "::1", port: 4000 },
      localhost: null,
      "127.0.0.2:70000": null,
      "127.0.0.256": null,
      "": null,
    },
  ],
  [
    "socketAddress",
    values.socketAddress,
    { "127.0.0.1:0": "127.0.0.1:0", "[::1]:9": "[::1]:9", "::1:9": null, "9433": null, "localhost:9433": null },
  ],
  [
    "portRange",
    values.portRange,
    {
      "49152-65535": { first: 49_152, last: 65_535 },
      "5-5": { first: 5, last: 5 },
      "6-5": null,
      "0-5": null,
      "1-70000": null,
      "5": null,
    },
  ],
  [
    "peerName",
    values.peerName,
    {
      office: "office",
      "a-1": "a-1",
      ["x".repeat(40)]: "x".repeat(40),
      ["x".repeat(41)]: null,
      Office: null,
      a_b: null,
      "": null,
    },
  ],
  [
    "peerIdOrAny",
    values.peerIdOrAny,
    {
      any: "any",
      [peer]: peer,
      [peer.toUpperCase()]: null,
      [peer.slice(1)]: null,
      [`${peer.slice(0, 51)}7`]: null,
      office: null,
    },
  ],
  [
    "intermediateAddress",
    values.intermediateAddress,
    {
      "203.0.113.1:4433": { peerId: null, host: "203.0.113.1", port: 4433, key: "203.0.113.1:4433" },
      "Relay.Example.org:4433": { peerId: null, host: "relay.example.org", port: 4433, key: "relay.example.org:4433" },
      "[2001:DB8::1]:4433": { peerId: null, host: "2001:db8::1", port: 4433, key: "[2001:db8::1]:4433" },
      [`${peer}@relay:1`]: { peerId: peer, host: "relay", port: 1, key: "relay:1" },
      relay: null,
      "relay:0": null,
      "relay:65536": null,
      "300.1.1.1:4433": null,
      "a b:4433": null,
      "2001:db8::1:4433": null,
      ":4433": null,
      "": null,
    },
  ],
  [
    "target",
    values.target,
    {
      office: { kind: "name", name: "office" },
      adit1: { kind: "name", name: "adit1" },
      [`adit1${"q".repeat(60)}`]: { kind: "ticket", text: `adit1${"q".repeat(60)}` },
      [peer]: { kind: "peer", peerId: peer },
      "": null,
      "of fice": null,
    },
  ],
  [
    "exposure",
    values.exposure,
    {
      "web=tcp://127.0.0.1:8080": { service: "web", protocol: "tcp", host: "127.0.0.1", port: 8080 },
      "web=tcp://[::1]:80": { service: "web", protocol: "tcp", host: "::1", port: 80 },
      "web=tcp://nas.local:80": { service: "web", protocol: "tcp", host: "nas.local", port: 80 },
      "dns=udp://127.0.0.1:53": { service: "dns", protocol: "udp", host: "127.0.0.1", port: 53 },
      "web=http://127.0.0.1:80": null,
      "web=127.0.0.1:80": null,
      "web=tcp://127.0.0.1": null,
      "web=tcp://127.0.0.1:0": null,
      "web=tcp://127.0.0.1:80/path": null,
      web: null,
    },
  ],
  [
    "localListener",
    values.localListener,
    {
      "8080=web": { protocol: "tcp", address: "127.0.0.1:8080", service: "web" },
      "0=web": { protocol: "tcp", address: "127.0.0.1:0", service: "web" },
      "127.0.0.2:9000=web": { protocol: "tcp", address: "127.0.0.2:9000", service: "web" },
      "[::1]:9000=web": { protocol: "tcp", address: "[::1]:9000", service: "web" },
      "udp:5353=dns": { protocol: "udp", address: "127.0.0.1:5353", service: "dns" },
      "udp:[::1]:5353=dns": { protocol: "udp", address: "[::1]:5353", service: "dns" },
      "udp:5353": null,
      "sctp:5353=dns": null,
      "9000": null,
      "70000=web": null,
      "localhost:9000=web": null,
      "=web": null,
    },
  ],
  [
    "userPassword",
    values.userPassword,
    { "a:b": { name: "a", password: "b" }, "a:b:c": { name: "a", password: "b:c" }, a: null, "a:": null, ":b": null },
  ],
];

for (const [name, type, cases] of table) {
  test(`${name} reads what it should and refuses the rest`, (t) => {
    for (const [text, expected] of Object.entries(cases))
      t.same(read(type, text), expected, `${name} ${JSON.stringify(text)}`);
  });
}

test("values that are nearly right say what is wrong with them", (t) => {
  const cases: [values.ValueType<unknown>, string, RegExp][] = [
    [values.localListener, "9000=We_b", /"We_b" is not a service's name/],
    [values.exposure, "We_b=tcp://127.0.0.1:1", /"We_b" is not a service's name/],
    [values.target, `adit1${"8".repeat(60)}`, /the ticket has characters that none has/],
    [values.target, `ADIT1${"Q".repeat(60)}`, /copy it again, as one word in lower case/],
    [values.target, `adit1${"q".repeat(60)}\nqq`, /copy it again, as one word/],
    [values.intermediateAddress, "office@relay:4433", /"office" is not a PeerId/],
  ];
  for (const [type, text, message] of cases) t.throws(() => type.parse(text), message);
});
