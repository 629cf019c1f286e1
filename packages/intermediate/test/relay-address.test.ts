import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { chooseRelayAddresses } from "../src/relay-address.ts";

const wildcard = SocketAddress.of("0.0.0.0", 3478);

/** Listening address, --external-ip, the host's addresses; then what is announced, and whether the log warns. */
const cases: readonly (readonly [string, string | null, readonly string[], string, boolean])[] = [
  ["198.41.0.4", null, [], "198.41.0.4", false],
  ["10.0.0.5", null, [], "10.0.0.5", true],
  ["10.0.0.5", "198.41.0.4", [], "198.41.0.4", false],
  ["127.0.0.1", null, [], "127.0.0.1", false],
  ["0.0.0.0", "198.41.0.4", ["10.0.0.5"], "198.41.0.4", false],
  ["0.0.0.0", null, ["127.0.0.1", "10.0.0.5", "198.41.0.4"], "198.41.0.4", false],
  ["0.0.0.0", null, ["127.0.0.1", "169.254.7.7", "10.0.0.5"], "10.0.0.5", true],
  ["0.0.0.0", null, ["127.0.0.1"], "127.0.0.1", false],
  ["0.0.0.0", null, ["127.0.0.1", "203.0.113.1"], "203.0.113.1", true],
  ["0.0.0.0", null, ["127.0.0.1", "203.0.113.1", "10.0.0.5"], "10.0.0.5", true],
  ["2606:4700::1", "2606:4700::2", [], "2606:4700::2", false],
];

for (const [listen, external, host, expected, doubtful] of cases) {
  test(`listening on ${listen}, --external-ip ${external}, host ${host.join(" ") || "-"}: ${expected}`, (t) => {
    const externals = external === null ? [] : [external];
    const [chosen, ...more] = chooseRelayAddresses([SocketAddress.of(listen, 3478)], externals, host);
    if (!chosen || more.length > 0) throw new Error("there is one relayed address");
    t.equal(chosen.relayedIp, expected);
    t.equal(chosen.bindIp, listen);
    t.equal(chosen.doubtful, doubtful);
    t.ok(chosen.reason.includes(expected), chosen.reason);
    t.equal(chosen.reason.includes("give the public one with --external-ip"), doubtful);
  });
}

test("there are relayed addresses of each family that is listened on or named", (t) => {
  const both = [wildcard, SocketAddress.of("::", 3478)];
  const ips = (listen: readonly SocketAddress[], external: string[], host: string[]) =>
    chooseRelayAddresses(listen, external, host).map(({ bindIp, relayedIp }) => `${bindIp} ${relayedIp}`);
  t.same(ips(both, ["198.41.0.4", "2606:4700::1"], []), ["0.0.0.0 198.41.0.4", ":: 2606:4700::1"]);
  t.same(ips([wildcard], ["2606:4700::1"], ["198.41.0.4"]), ["0.0.0.0 198.41.0.4", ":: 2606:4700::1"]);
  t.same(ips([SocketAddress.of("2606:4700::9", 3478)], [], []), ["2606:4700::9 2606:4700::9"]);
});

test("no address, or two of one family, is an error that says what to do", (t) => {
  t.throws(() => chooseRelayAddresses([wildcard], [], []), /--external-ip/);
  t.throws(() => chooseRelayAddresses([wildcard], ["198.41.0.4", "198.41.0.5"], []), { code: "bad-relay-address" });
});
