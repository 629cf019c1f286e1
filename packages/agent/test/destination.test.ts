import { test } from "@adit/harness";
import { intermediateAddress, type Target } from "@adit/program";
import { Identity } from "@adit/quic";
import { issueTicket } from "@adit/transport";
import { destinationOf } from "../src/destination.ts";

const connector = Identity.generate();
const intermediate = { peerId: Identity.generate().peerId, host: "2001:db8::1", port: 4433 };
const text = issueTicket(connector, { intermediate, services: [], expiresAtS: 2_000_000_000 });
const to: Target = { kind: "ticket", text };
const BEFORE = 1_999_999_999_000;

test("a ticket names connector and intermediate; another intermediate may be named beside it", (t) => {
  const destination = destinationOf({ to, intermediate: [] }, BEFORE);
  t.same(destination.target, { kind: "peer", peerId: connector.peerId });
  t.same(destination.intermediates, [{ ...intermediate, key: "[2001:db8::1]:4433" }]);
  t.equal(destination.ticket?.connector, connector.peerId);
  const other = t.must(intermediateAddress.parse("relay.example.org:4433"));
  t.same(destinationOf({ to, intermediate: [other] }, BEFORE).intermediates, [other]);
});

test("an expired ticket is refused, a damaged one is a mistake, and so is neither ticket nor intermediate", (t) => {
  t.throws(() => destinationOf({ to, intermediate: [] }, BEFORE + 1000), {
    code: "refused",
    message: /expired at 2033-/,
  });
  const damaged: Target = { kind: "ticket", text: text.slice(0, -1) };
  t.throws(() => destinationOf({ to: damaged, intermediate: [] }, BEFORE), { code: "usage", message: /cut short/ });
  const short: Target = { kind: "name", name: "adit1xyz" };
  t.throws(() => destinationOf({ to: short, intermediate: [] }), {
    code: "usage",
    message: /the ticket is cut short;/,
  });
  const named: Target = { kind: "name", name: "office" };
  t.throws(() => destinationOf({ to: named, intermediate: [] }), {
    code: "usage",
    message: /--intermediate .* is missing/,
  });
});
