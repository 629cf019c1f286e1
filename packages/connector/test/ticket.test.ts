import { test } from "@adit/harness";
import { type IntermediateAddress, intermediateAddress } from "@adit/program";
import { Identity } from "@adit/quic";
import { readTicket } from "@adit/transport";
import { ticket } from "../src/ticket.ts";

const identity = Identity.generate();
const [first, second] = [Identity.generate().peerId, Identity.generate().peerId];
const NOW = 1_800_000_000_000;

const address = (text: string): IntermediateAddress => {
  const parsed = intermediateAddress.parse(text);
  if (!parsed) throw new Error(text);
  return parsed;
};

/** What the connector has met. */
function pins(...met: readonly { readonly peerId: string; readonly host: string; readonly port: number }[]) {
  return {
    get: (_kind: string, key: string) => met.find(({ host, port }) => `${host}:${port}` === key)?.peerId ?? null,
    intermediates: () => met,
  };
}

const home = { peerId: first, host: "relay.example.org", port: 4433 };
const other = { peerId: second, host: "192.0.2.1", port: 4433 };
const values = { intermediate: [], service: [], expires: 3_600_000 };

test("a ticket names the one intermediate that the connector has met, and ends when it was said", (t) => {
  const read = readTicket(ticket({ ...values, service: ["web"] }, identity, pins(home), NOW));
  t.equal(read.connector, identity.peerId);
  t.same(read.intermediate, home);
  t.same([read.services, read.expiresAtS], [["web"], NOW / 1000 + 3_600]);
});

test("of several the one that is named counts, with its pinned key or the key in its name", (t) => {
  const named = (text: string) =>
    readTicket(ticket({ ...values, intermediate: [address(text)] }, identity, pins(home, other), NOW)).intermediate;
  t.same(named("192.0.2.1:4433"), other);
  t.same(named(`${second}@unmet.example.org:443`), { peerId: second, host: "unmet.example.org", port: 443 });
});

test("where the intermediate or its key is not clear there is no ticket, and a sentence that says what to do", (t) => {
  const make = (met: Parameters<typeof ticket>[2], ...intermediate: IntermediateAddress[]) =>
    ticket({ ...values, intermediate }, identity, met, NOW);
  t.throws(() => make(pins()), {
    code: "usage",
    message: /--intermediate .* is missing .*: this connector has met none/,
  });
  t.throws(() => make(pins(home, other)), {
    code: "usage",
    message: /met several \(relay.*:4433, 192\.0\.2\.1:4433\)/,
  });
  t.throws(() => make(pins(home, { ...home, host: "2001:db8::1" })), {
    code: "usage",
    message: /met several \(relay.*:4433, \[2001:db8::1\]:4433\)/,
  });
  t.throws(() => make(pins(home), address("192.0.2.1:4433")), {
    code: "usage",
    message: /write --intermediate PEERID@/,
  });
});

test("a ticket that has expired when it is printed is a mistake", (t) => {
  const lasting = (expires: number) => ticket({ ...values, expires }, identity, pins(home), NOW);
  for (const expires of [0, 999]) t.throws(() => lasting(expires), { code: "usage", message: /a second at least/ });
  t.equal(readTicket(lasting(1_000)).expiresAtS, NOW / 1000 + 1);
});
