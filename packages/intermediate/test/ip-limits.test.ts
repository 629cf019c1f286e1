import { seededRandom } from "@adit/core";
import { test } from "@adit/harness";
import { IpLimits, MAX_SOURCES, SITE_SHARE, SourceCounts, sourceKey } from "../src/ip-limits.ts";
import { DEFAULT_LIMITS } from "../src/limits.ts";
import { SlowClients } from "../src/slow-clients.ts";
import { SourceRates } from "../src/source-rates.ts";
import { address } from "./relay-kit.ts";

/** One host in a /64 of its own, of that /48. */
const inSite = (site: string, i: number): string => `2001:db8:${site}:${i.toString(16)}::1`;

test("a source is an IPv4 address, or the /64 of an IPv6 one", (t) => {
  t.equal(sourceKey("192.0.2.1"), "192.0.2.1");
  t.equal(sourceKey("2001:db8::1"), sourceKey("2001:db8::ffff:1"));
  t.notEqual(sourceKey("2001:db8::1"), sourceKey("2001:db8:0:1::1"));
});

test("what a /64 may have at one time, a /48 may have eight times, and gives back", (t) => {
  const counts = new SourceCounts();
  const take = (ip: string, more = 1): boolean => {
    const source = sourceKey(ip);
    if (!counts.hasRoom(source, 4, more)) return false;
    for (let i = 0; i < more; i++) counts.add(source, 1);
    return true;
  };
  const taken = Array.from({ length: 100 }, (_, i) => take(inSite("a", i), 2)).filter(Boolean).length;
  t.equal(taken * 2, 4 * SITE_SHARE);
  t.notOk(take(inSite("a", 0xffff)));
  t.ok(take(inSite("b", 0), 4), "another site");
  t.notOk(take(inSite("b", 0)), "its /64 is full");
  t.ok(take(inSite("b", 1)), "its site is not");
  for (let i = 1; i <= 4; i++) t.ok(take(`192.0.${i}.1`, 4), "IPv4 addresses are nobody's neighbours");
  counts.add(sourceKey(inSite("a", 0)), -1);
  t.ok(take(inSite("a", 0xffff)));
});

test("handshakes and new names of a /48 are bounded, and another one has its own", (t) => {
  const limits = new IpLimits(() => ({ ...DEFAULT_LIMITS, handshakesPerIpPerSecond: 1, newNamesPerIpPerHour: 3 }));
  const shake = (site: string, i: number): boolean => {
    const may = limits.mayHandshake(0, inSite(site, i));
    if (may) limits.chargeHandshake(0, inSite(site, i));
    return may;
  };
  // Ten seconds' worth at once, of eight.
  t.equal(Array.from({ length: 1_000 }, (_, i) => shake("a", i)).filter(Boolean).length, 10 * SITE_SHARE);
  t.ok(shake("b", 0));
  t.ok(limits.mayHandshake(1_000, inSite("a", 0xffff)), "a second later there are some again");
  const name = (site: string, i: number): boolean => limits.takeName(0, inSite(site, i));
  t.equal(Array.from({ length: 1_000 }, (_, i) => name("a", i)).filter(Boolean).length, 3 * SITE_SHARE);
  t.same(
    [1, 2, 3, 4].map(() => name("b", 0)),
    [true, true, true, false],
  );
});

test("who has all addresses of a /48 does not make others' be forgotten with what they used up, nor his own", (t) => {
  const limits = new IpLimits(() => ({ ...DEFAULT_LIMITS, handshakesPerIpPerSecond: 1 }));
  for (let i = 0; i < 1_000; i++) limits.chargeHandshake(0, inSite("a", i));
  for (let i = 0; i < MAX_SOURCES; i++)
    if (limits.mayHandshake(0, inSite("a", i))) limits.chargeHandshake(0, inSite("a", i));
  t.notOk(limits.mayHandshake(0, inSite("a", 1)));
  t.ok(limits.size < 2_000);
});

test("refusals to a /48 are eight times those to an address", (t) => {
  const rates = new SourceRates(seededRandom(1));
  const sent = Array.from({ length: 2_000 }, (_, i) => rates.take(0, inSite("a", i), 1, 5)).filter(Boolean).length;
  t.equal(sent, 5 * SITE_SHARE);
  t.ok(rates.take(0, inSite("b", 0), 1, 5));
  t.ok(rates.take(0, "192.0.2.1", 1, 5));
});

test("who holds little in each of many /64s gives way before who holds more in one", (t) => {
  const slow = new SlowClients<string>(1_000);
  slow.note("honest", address("192.0.2.1:1"), 100);
  for (let i = 0; i < 19; i++) slow.note(`${i}`, address(`[${inSite("a", i)}]:1`), 50);
  t.same(slow.takeExcess(), ["0"]);
});
