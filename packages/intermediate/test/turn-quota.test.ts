import type { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { getXorAddress, STUN_ATTRIBUTE, StunBuilder } from "@adit/ice";
import { Accounts } from "../src/accounts.ts";
import { DEFAULT_LIMITS, type Limits } from "../src/limits.ts";
import { address, alice, bob, outcome, PEER, RelayKit, sendIndication } from "./relay-kit.ts";

const DAY_MS = 86_400_000;

class QuotaKit {
  limits: Limits;
  wallMs = 0;
  readonly relay: RelayKit;
  readonly accounts: Accounts;

  constructor(limits: Partial<Limits>) {
    this.limits = { ...DEFAULT_LIMITS, ...limits };
    this.accounts = new Accounts({ limits: () => this.limits, unixMs: () => this.wallMs });
    this.relay = new RelayKit({ accounts: this.accounts });
  }

  /** How many of so many packets of `size` bytes reach the peer. */
  relayed(from: string, packets: number, size: number): number {
    let passed = 0;
    for (let i = 0; i < packets; i++) {
      passed += this.relay.datagram(address(from), sendIndication(PEER, new Uint8Array(size))).length;
    }
    return passed;
  }

  allocate(from: string, who = alice): void {
    const sender = who(address(from));
    this.relay.allocate(sender);
    this.relay.permit(sender, PEER);
  }
}

test("relay bandwidth is one key's, over all its allocations, new ones and other addresses included", (t) => {
  const kit = new QuotaKit({ relayBytesPerSecond: 10_000 });
  kit.allocate("8.8.4.4:1");
  t.equal(kit.relayed("8.8.4.4:1", 20, 1_000), 10, "a second's worth at once");
  kit.allocate("7.7.7.7:2");
  t.equal(kit.relayed("7.7.7.7:2", 5, 1_000), 0, "another address of the same user");
  kit.relay.refresh(alice(address("8.8.4.4:1")), 0);
  kit.allocate("8.8.4.4:1");
  t.equal(kit.relayed("8.8.4.4:1", 5, 1_000), 0, "nor does a new allocation help");
  kit.allocate("8.8.4.4:9", bob);
  t.equal(kit.relayed("8.8.4.4:9", 5, 1_000), 5, "others from the same address are not charged");
  kit.relay.advance(500);
  t.equal(kit.relayed("7.7.7.7:2", 20, 1_000), 5);
  t.ok(kit.relay.server.counters.get("quota") > 0);
  t.ok(kit.accounts.counters.get("quota-bandwidth") > 0);
});

test("what comes back from peers is charged as well", (t) => {
  const kit = new QuotaKit({ relayBytesPerSecond: 10_000 });
  kit.allocate("8.8.4.4:1");
  let passed = 0;
  for (let i = 0; i < 20; i++) passed += kit.relay.fromPeer(1, PEER, new Uint8Array(1_000)).length;
  t.equal(passed, 10);
});

test("between two clients of the relay the sender pays: nobody uses up another one's quota", (t) => {
  const kit = new QuotaKit({ relayBytesPerSecond: 10_000 });
  const [victim, attacker] = [alice(address("8.8.4.4:1")), bob(address("7.7.7.7:2"))];
  const relayed = [victim, attacker].map((sender) =>
    t.must(getXorAddress(kit.relay.allocate(sender), STUN_ATTRIBUTE.XOR_RELAYED_ADDRESS)),
  );
  // Peers meet relay to relay, so a connector lets in the relay's own address.
  for (const sender of [victim, attacker]) for (const peer of relayed) kit.relay.permit(sender, peer);
  const flood = (): number => {
    let passed = 0;
    for (let i = 0; i < 30; i++) {
      const packet = sendIndication(relayed[0] as SocketAddress, new Uint8Array(1_000));
      passed += kit.relay.datagram(attacker.from, packet).length;
    }
    return passed;
  };
  t.equal(flood(), 10);
  kit.relay.permit(victim, PEER);
  t.equal(kit.relayed("8.8.4.4:1", 20, 1_000), 10, "the victim's own second is untouched");
  t.equal(flood(), 0);
});

test("bytes of a day are used up until midnight", (t) => {
  const kit = new QuotaKit({ relayBytesPerDay: 3_500 });
  kit.allocate("8.8.4.4:1");
  t.equal(kit.relayed("8.8.4.4:1", 10, 1_000), 3);
  kit.wallMs += DAY_MS;
  kit.relay.advance(1_001);
  t.equal(kit.relayed("8.8.4.4:1", 10, 1_000), 3);
  t.equal(kit.accounts.counters.get("quota-day"), 14);
});

test("allocations per key are bounded (486), and limits that were read anew count at once", (t) => {
  const kit = new QuotaKit({ allocationsPerKey: 1 });
  const issued = kit.relay.credentials.issue("a".repeat(52));
  const from = (text: string) => ({ from: address(text), username: issued.username, password: issued.password });
  t.equal(outcome(kit.relay.allocate(from("8.8.4.4:1"))), "success");
  t.equal(outcome(kit.relay.allocate(from("7.7.7.7:1"))), 486);
  kit.limits = { ...kit.limits, allocationsPerKey: 2 };
  t.equal(outcome(kit.relay.allocate(from("7.7.7.7:1"))), "success");
  t.same(kit.relay.server.refusals.toJSON(), { "quota-allocations": 1 });
});

test("while it drains: no new allocations (508), the old ones relay and are refreshed", (t) => {
  const kit = new QuotaKit({});
  kit.allocate("8.8.4.4:1");
  kit.relay.server.beginDrain();
  t.equal(outcome(kit.relay.allocate(alice(address("8.8.4.4:2")))), 508);
  t.equal(kit.relayed("8.8.4.4:1", 3, 100), 3);
  t.equal(outcome(kit.relay.refresh(alice(address("8.8.4.4:1")), 600)), "success");
  t.equal(outcome(kit.relay.permit(alice(address("8.8.4.4:1")), address("9.9.9.8:1"))), "success");
  t.same(kit.relay.server.refusals.toJSON(), { draining: 1 });
});

test("no answer to somebody unauthenticated is much larger than his request (RFC 8656 §21.3.1)", (t) => {
  const kit = new RelayKit();
  // A challenge has to carry REALM and NONCE: that is what STUN needs beyond the request, and all there is.
  for (const method of [0x001, 0x003, 0x004, 0x008, 0x009]) {
    for (const padding of [0, 100]) {
      const request = new StunBuilder("request", method, kit.transactionId())
        .add(STUN_ATTRIBUTE.SOFTWARE, new Uint8Array(padding))
        .build();
      const answered = kit.datagram(address("8.8.4.4:1"), request).reduce((sum, { data }) => sum + data.length, 0);
      t.ok(answered <= request.length + 100, `method ${method}: ${answered} bytes for ${request.length}`);
    }
  }
});
