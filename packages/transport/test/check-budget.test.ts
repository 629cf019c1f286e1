import { SocketAddress, type Transmit } from "@adit/core";
import { test } from "@adit/harness";
import { StunBuilder } from "@adit/ice";
import { gateKey } from "../src/path/gates.ts";
import { CHECKS_AT_ONCE, CHECKS_PER_SECOND, CheckBudget } from "../src/peer/check-budget.ts";
import type { Session } from "../src/peer/session.ts";

const SOCKET = 1;
const KNOWN = SocketAddress.of("9.9.9.9", 1000);

/** A session with that peer, to which authentic checks came from {@link KNOWN} alone. */
const sessionWith = (id: string): Session =>
  ({
    peer: { id, name: null },
    data: { gates: { isOpen: (_now: number, key: string) => key === gateKey(SOCKET, KNOWN) } },
  }) as unknown as Session;

const datagram = (data: Uint8Array, to: SocketAddress): Transmit => ({ data, socket: SOCKET, to });
const stun = (kind: "request" | "success" | "error" | "indication") =>
  new StunBuilder(kind, 1, new Uint8Array(12)).build();
const check = (port: number) => datagram(stun("request"), SocketAddress.of("6.6.6.6", port));

test("checks to strangers are so many at once and so many a second, over all sessions with a peer", (t) => {
  const budget = new CheckBudget();
  const sessions = [sessionWith("a"), sessionWith("a")] as const;
  const send = (now: number, tries: number): number => {
    let sent = 0;
    for (let i = 0; i < tries; i++) {
      if (budget.allows(now, sessions[i & 1] as Session, check(1 + (i % 60_000)))) sent++;
    }
    return sent;
  };
  t.equal(send(0, 5_000), CHECKS_AT_ONCE);
  t.equal(budget.drops.get("check-budget"), 5_000 - CHECKS_AT_ONCE);
  t.equal(send(1_000, 5_000), CHECKS_PER_SECOND);
  let steady = 0;
  for (let now = 1_010; now <= 11_000; now += 10) steady += send(now, 50);
  t.equal(steady, 10 * CHECKS_PER_SECOND);
  t.ok(budget.allows(11_000, sessionWith("b"), check(1)), "another peer's are its own");
});

test("what goes to somebody who has shown himself, and what is no request, is never held back", (t) => {
  const budget = new CheckBudget();
  const session = sessionWith("a");
  while (budget.allows(0, session, check(1)));
  const stranger = SocketAddress.of("6.6.6.6", 1);
  t.ok(budget.allows(0, session, datagram(stun("request"), KNOWN)));
  for (const kind of ["success", "error", "indication"] as const) {
    t.ok(budget.allows(0, session, datagram(stun(kind), stranger)), kind);
  }
  t.ok(budget.allows(0, session, datagram(Uint8Array.of(0x40, 0), stranger)), "QUIC, which has gates of its own");
  t.ok(budget.allows(0, session, datagram(Uint8Array.of(0xc0, 0), stranger)));
});

test("1,024 peers are remembered: then the one that was not heard of for longest starts anew", (t) => {
  const budget = new CheckBudget();
  const first = sessionWith("first");
  while (budget.allows(0, first, check(1)));
  for (let i = 1; i < 1_024; i++) budget.allows(0, sessionWith(`peer ${i}`), check(1));
  t.notOk(budget.allows(0, first, check(1)), "it is the newest now");
  for (let i = 1; i <= 1_023; i++) budget.allows(0, sessionWith(`other ${i}`), check(1));
  t.notOk(budget.allows(0, first, check(1)));
  for (let i = 1; i <= 1_024; i++) budget.allows(0, sessionWith(`another ${i}`), check(1));
  t.ok(budget.allows(0, first, check(1)));
});
