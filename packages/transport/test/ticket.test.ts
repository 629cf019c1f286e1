import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { fromBase32, fromHex, seededRandom, toBase32, toHex } from "@adit/core";
import { FUZZ, fuzzInputs, fuzzSeed, test } from "@adit/harness";
import { Identity } from "@adit/quic";
import { checkTicketProof, issueTicket, readTicket, TicketError, type TicketUse, ticketProof } from "../src/ticket.ts";

const seed = (fill: number) => new Uint8Array(32).fill(fill);
const connector = Identity.fromSeed(seed(1));
const agent = Identity.fromSeed(seed(2));
const intermediate = { peerId: Identity.fromSeed(seed(3)).peerId, host: "relay.example.org", port: 4433 };
const EXPIRES_S = 2_000_000_000;
const terms = { intermediate, services: ["web", "ssh"], expiresAtS: EXPIRES_S };
const text = issueTicket(connector, terms, { float: () => 0, bytes: (n) => new Uint8Array(n).fill(4) });
const use: TicketUse = { agent: agent.peerId, connector: connector.peerId, sessionId: 7n, ufrag: "8hhY" };
const BEFORE = (EXPIRES_S - 1) * 1000;

test("a ticket says what it was made with, and its proof lets its holder in", (t) => {
  const ticket = readTicket(text);
  t.equal(ticket.connector, connector.peerId);
  t.same(ticket.intermediate, intermediate);
  t.same([...ticket.services], ["web", "ssh"]);
  t.equal(ticket.expiresAtS, EXPIRES_S);
  const proof = ticketProof(ticket, use);
  t.ok(proof.length <= 2048);
  t.same(checkTicketProof(proof, use, BEFORE), { kind: "valid", services: ["web", "ssh"] });
});

test("a proof counts for nobody else, no other session, no other connector, and not for ever", (t) => {
  const ticket = readTicket(text);
  const proof = ticketProof(ticket, use);
  const reason = (other: Partial<TicketUse>, now = BEFORE, of = proof) => {
    const verdict = checkTicketProof(of, { ...use, ...other }, now);
    return verdict.kind === "refused" ? verdict.reason : "valid";
  };
  const stranger = Identity.fromSeed(seed(9));
  t.equal(reason({ agent: stranger.peerId }), "not-the-holder");
  t.equal(reason({ sessionId: 8n }), "not-the-holder");
  t.equal(reason({ ufrag: "8hhZ" }), "not-the-holder");
  t.equal(reason({ connector: stranger.peerId }), "foreign");
  t.equal(reason({}, EXPIRES_S * 1000), "expired");
  t.equal(reason({}, BEFORE, ""), "malformed");
  // Who has seen the claim, and not the ticket, signs with a key of his own.
  const forged = ticketProof({ ...ticket, holder: stranger }, use);
  t.equal(reason({}, BEFORE, forged), "not-the-holder");
  // Who makes the whole ticket himself is no connector of ours.
  const own = readTicket(issueTicket(stranger, terms));
  t.equal(reason({}, BEFORE, ticketProof(own, use)), "foreign");
  t.notOk(fromBase32(proof)?.join().includes(seed(4).join()), "the secret does not travel");
});

test(
  "no bit of a ticket or of a proof can be changed, and nothing throws anything else",
  (t) => {
    const random = seededRandom(fuzzSeed(6));
    const ticket = t.must(fromBase32(text.slice(5)));
    const proof = t.must(fromBase32(ticketProof(readTicket(text), use)));
    const inputs = Math.ceil(fuzzInputs(2_000));
    for (let i = 0; i < inputs; i++) {
      const damaged = i % 2 === 0 ? ticket.slice() : proof.slice();
      const bit = Math.floor(random.float() * damaged.length * 8);
      damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const cut = random.float() < 0.2 ? damaged.slice(0, Math.floor(random.float() * damaged.length)) : damaged;
      if (i % 2 === 0) t.throws(() => readTicket(`adit1${toBase32(cut)}`), TicketError);
      else t.equal(checkTicketProof(toBase32(cut), use, BEFORE).kind, "refused", `bit ${bit}`);
    }
  },
  FUZZ,
);

test("terms that cannot be are refused in words", (t) => {
  const services = Array.from({ length: 17 }, (_, i) => `s${i}`);
  t.throws(() => issueTicket(connector, { ...terms, services }), /at most 16 services/);
  t.throws(() => issueTicket(connector, { ...terms, services: ["No"] }), /not a service's name/);
  t.throws(() => issueTicket(connector, { ...terms, intermediate: { ...intermediate, host: "h".repeat(256) } }), /255/);
  t.throws(() => readTicket("adit1"), /cut short/);
  t.throws(() => readTicket(text.slice(0, -1)), /cut short/);
});

test("docs/protocol.md has this ticket and this proof", (t) => {
  const document = readFileSync(findUp("docs/protocol.md"), "utf8");
  const vector = (kind: string) => {
    const match = new RegExp(`^\`\`\`bytes ${kind}\\n([\\s\\S]*?)^\`\`\`$`, "m").exec(document);
    return t.must(match?.[1], `no bytes ${kind}`).replace(/#.*$/gm, "");
  };
  const proof = t.must(fromBase32(ticketProof(readTicket(text), use)));
  t.equal(toHex(fromHex(vector("ticket-proof"))), toHex(proof));
  t.equal(vector("ticket").replace(/\s/g, ""), text);
});

/** The test runs from test/ and from dist/test/. */
function findUp(path: string): string {
  for (let directory = dirname(fileURLToPath(import.meta.url)); ; directory = dirname(directory)) {
    if (existsSync(join(directory, path))) return join(directory, path);
    if (directory === dirname(directory)) throw new Error(`no ${path} above the test`);
  }
}
