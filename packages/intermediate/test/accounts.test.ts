import { test } from "@adit/harness";
import { Accounts, MAX_ACCOUNTS, type UsageStore } from "../src/accounts.ts";
import { IpLimits, MAX_SOURCES, sourceKey } from "../src/ip-limits.ts";
import { DEFAULT_LIMITS, type Limits } from "../src/limits.ts";

const DAY_MS = 86_400_000;

function accounts(limits: Partial<Limits>, wall = { ms: DAY_MS / 2 }): Accounts {
  return new Accounts({ limits: () => ({ ...DEFAULT_LIMITS, ...limits }), unixMs: () => wall.ms });
}

test("bandwidth: a second's worth at once, then the rate, whatever the packet size", async (t) => {
  const all = accounts({ relayBytesPerSecond: 100_000 });
  let passed = 0;
  for (let now = 0; now < 10_000; now += 1) if (all.of("peer:a").takeRelayed(now, 1_000)) passed += 1_000;
  t.equal(passed, 100_000 + 999_000, "10 s at 100 kB/s and the burst, of 10 MB offered");
  t.equal(all.counters.get("quota-bandwidth"), 10_000 - passed / 1_000);
  t.ok(all.of("peer:b").takeRelayed(0, 1_000), "another key is not charged");
});

test("a packet larger than the burst passes when nothing else did, and is paid for", async (t) => {
  const account = accounts({ relayBytesPerSecond: 100 }).of("peer:a");
  t.ok(account.takeRelayed(0, 1_000));
  t.notOk(account.takeRelayed(9_000, 10));
  t.ok(account.takeRelayed(9_200, 10));
});

test("bytes per day: midnight of UTC opens it again", async (t) => {
  const wall = { ms: DAY_MS - 5_000 };
  const all = accounts({ relayBytesPerDay: 10_000 }, wall);
  t.ok(all.of("peer:a").takeRelayed(0, 6_000));
  t.notOk(all.of("peer:a").takeRelayed(1, 6_000));
  t.ok(all.of("peer:a").takeRelayed(2, 4_000), "what still fits");
  t.equal(all.of("peer:a").bytesToday, 10_000);
  wall.ms += 6_000;
  t.equal(all.of("peer:a").bytesToday, 0);
  t.ok(all.of("peer:a").takeRelayed(6_000, 10_000));
  t.equal(all.counters.get("quota-day"), 1);
});

test("messages and registrations are charged to the key, and limits that change count at once", async (t) => {
  let limits: Limits = { ...DEFAULT_LIMITS, messagesPerSecond: 10, registrationsPerMinute: 2 };
  const all = new Accounts({ limits: () => limits });
  let passed = 0;
  for (let i = 0; i < 100; i++) if (all.of("peer:a").takeMessage(0)) passed++;
  t.equal(passed, 40, "four seconds' worth at once");
  t.ok(all.of("peer:a").takeRegistration(0));
  t.ok(all.of("peer:a").takeRegistration(0));
  t.notOk(all.of("peer:a").takeRegistration(0));
  t.ok(all.of("peer:a").takeRegistration(30_000));
  limits = { ...limits, registrationsPerMinute: 60 };
  t.ok(all.of("peer:a").takeRegistration(31_000));
  t.same(all.counters.toJSON(), { "quota-messages": 60, "quota-registrations": 1 });
});

test("accounts are bounded, and one that has relayed today stays when others make way", async (t) => {
  const all = accounts({ relayBytesPerDay: 10_000 });
  all.of("peer:heavy").takeRelayed(0, 10_000);
  for (let i = 0; i < MAX_ACCOUNTS + 1_000; i++) all.of(`peer:${i}`);
  t.equal(all.size, MAX_ACCOUNTS);
  t.notOk(all.of("peer:heavy").takeRelayed(0, 1), "a flood of fresh keys does not reset a quota");
});

test("addresses: handshakes and new names are bounded; an IPv6 /64 is one source; the table is bounded", async (t) => {
  const limits = new IpLimits(() => ({ ...DEFAULT_LIMITS, handshakesPerIpPerSecond: 5, newNamesPerIpPerHour: 2 }));
  let passed = 0;
  for (; limits.mayHandshake(0, "192.0.2.1") && passed < 100; passed++) limits.chargeHandshake(0, "192.0.2.1");
  t.equal(passed, 50);
  t.ok(limits.mayHandshake(0, "192.0.2.2"));
  t.notOk(limits.mayHandshake(199, "192.0.2.1"));
  t.ok(limits.mayHandshake(200, "192.0.2.1"));
  for (const host of ["::1", "::2"]) t.ok(limits.takeName(0, `2001:db8:0:1${host}`));
  t.notOk(limits.takeName(0, "2001:db8:0:1::3"));
  t.ok(limits.takeName(0, "2001:db8:0:2::3"));
  t.equal(sourceKey("192.0.2.1"), "192.0.2.1");
  for (let i = 0; i < MAX_SOURCES + 10; i++) limits.takeName(0, `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`);
  t.equal(limits.size, MAX_SOURCES);
});

class Usage implements UsageStore {
  readonly rows = new Map<string, { readonly day: number; readonly bytes: number }>();
  writes = 0;
  broken = false;

  read(account: string, day: number): number {
    if (this.broken) throw new Error("the disk is gone");
    const row = this.rows.get(account);
    return row?.day === day ? row.bytes : 0;
  }

  write(day: number, bytes: ReadonlyMap<string, number>): void {
    if (this.broken) throw new Error("the disk is full");
    this.writes += bytes.size;
    for (const [account, count] of bytes) this.rows.set(account, { day, bytes: count });
  }
}

test("the bytes of a day outlive the process, and end with the day", async (t) => {
  const usage = new Usage();
  const wall = { ms: DAY_MS * 1.5 };
  const open = () =>
    new Accounts({
      limits: () => ({ ...DEFAULT_LIMITS, relayBytesPerDay: 10_000 }),
      unixMs: () => wall.ms,
      usage,
    });
  const before = open();
  t.ok(before.of("peer:a").takeRelayed(0, 8_000));
  before.of("peer:idle");
  before.saveUsage();
  before.saveUsage();
  t.equal(usage.writes, 1, "what did not change is not written");
  const after = open();
  t.notOk(after.of("peer:a").takeRelayed(0, 8_000));
  t.ok(after.of("peer:a").takeRelayed(0, 2_000));
  after.saveUsage();
  wall.ms += DAY_MS;
  t.ok(open().of("peer:a").takeRelayed(0, 10_000));
});

test("a store that fails is counted, and what it should have kept is still counted and written later", async (t) => {
  const usage = new Usage();
  const all = new Accounts({ limits: () => ({ ...DEFAULT_LIMITS, relayBytesPerDay: 10_000 }), unixMs: () => 1, usage });
  usage.broken = true;
  t.ok(all.of("peer:a").takeRelayed(0, 8_000));
  t.throws(() => all.saveUsage(), /full/);
  t.ok(all.usageFailures > 0);
  t.notOk(all.of("peer:a").takeRelayed(0, 8_000));
  usage.broken = false;
  all.saveUsage();
  t.equal(all.usageFailures, 0);
  t.equal(usage.rows.get("peer:a")?.bytes, 8_000);
});
