import { test } from "@adit/harness";
import { type Interfaces, SERVES_FOR_MS, SystemInterfaces } from "../src/system-interfaces.ts";

const at = (address: string): Interfaces => ({ eth0: [{ address, internal: false }] });

test("one reading of the system's interfaces serves all who ask soon after", (t) => {
  let now = 0;
  let reads = 0;
  const system = new SystemInterfaces({ now: () => now }, () => at(`192.0.2.${++reads}`));
  t.same(system.current(), at("192.0.2.1"));
  now = SERVES_FOR_MS - 1;
  t.same(system.current(), at("192.0.2.1"));
  now = SERVES_FOR_MS;
  t.same(system.current(), at("192.0.2.2"));
  t.equal(reads, 2);
});

test("when the system cannot tell its interfaces, those it told last go on serving", (t) => {
  let now = 0;
  let fails = true;
  const system = new SystemInterfaces({ now: () => now }, () => {
    if (fails) throw new Error("getifaddrs returned an error");
    return at("192.0.2.1");
  });
  t.same(system.current(), {}, "it has never told");
  now += SERVES_FOR_MS;
  fails = false;
  t.same(system.current(), at("192.0.2.1"));
  now += SERVES_FOR_MS;
  fails = true;
  t.same(system.current(), at("192.0.2.1"));
});
