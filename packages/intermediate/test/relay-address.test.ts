import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { chooseRelayAddress } from "../src/relay-address.ts";

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
  ["2606:4700::1", "2606:4700::2", [], "2606:4700::2", false],
];

for (const [listen, external, host, expected, doubtful] of cases) {
  test(`listening on ${listen}, --external-ip ${external}, host ${host.join(" ") || "-"}: ${expected}`, (t) => {
    const chosen = chooseRelayAddress(SocketAddress.of(listen, 3478), external, host);
    t.equal(chosen.ip, expected);
    t.equal(chosen.doubtful, doubtful);
    t.ok(chosen.reason.includes(expected), chosen.reason);
    t.equal(chosen.reason.includes("give the public one with --external-ip"), doubtful);
  });
}

test("no address, or one of the other family, is an error that says what to do", (t) => {
  t.throws(() => chooseRelayAddress(wildcard, null, []), /--external-ip/);
  t.throws(() => chooseRelayAddress(wildcard, "2606:4700::1", []), { code: "bad-relay-address" });
  t.throws(() => chooseRelayAddress(SocketAddress.of("::", 3478), "198.41.0.4", []), { code: "bad-relay-address" });
});
