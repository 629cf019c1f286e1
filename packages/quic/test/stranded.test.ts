import { test } from "@adit/harness";
import type { NativeConnection } from "../src/native.ts";
import { type Path, StrandedPackets } from "../src/stranded.ts";

const path = (port: number): Path => ({
  local: { host: "192.0.2.1", port },
  remote: { host: "192.0.2.2", port },
});
const [relay, direct] = [path(1), path(2)];
const out = new Uint8Array(1500);

/** On the direct path, from which something was heard at 0. `pings` are the paths that quiche was asked for one on. */
function onDirectPath() {
  const pings: number[] = [];
  const native: Pick<NativeConnection, "sendAckEliciting" | "sendOnPath"> = {
    sendAckEliciting: () => {},
    sendOnPath: (_out, local) => {
      pings.push(local?.port ?? -1);
      return null;
    },
  };
  const stranded = new StrandedPackets(native as NativeConnection, direct, 0);
  const send = (now: number, number: number, length = 1200): void => stranded.sent(now, out.fill(number), length);
  const again = (): number[] => {
    const numbers: number[] = [];
    while (stranded.sendAgain(out) > 0) numbers.push(out[0] ?? -1);
    return numbers;
  };
  const migrate = (now: number): void => {
    stranded.beforeMigrate(now);
    stranded.migrated(now, relay);
  };
  return { stranded, send, again, migrate, pings };
}

test("of what was sent on a path that is silent the first seven packets and the newest are sent again", (t) => {
  const { send, again, migrate } = onDirectPath();
  send(49, 100);
  for (let number = 1; number <= 20; number++) send(50 + number, number);
  migrate(300);
  t.same(again(), [1, 2, 3, 4, 5, 6, 7, 20]);
  t.same(again(), [], "once");
});

test("what was sent on a path that is heard again, or was left while it lived, is not", (t) => {
  const heard = onDirectPath();
  heard.send(60, 1);
  heard.stranded.beforeReceive(70, direct, false);
  heard.migrate(200);
  t.same(heard.again(), []);
  const alive = onDirectPath();
  alive.send(60, 1);
  alive.migrate(99);
  t.same(alive.again(), [], "its packets arrive");
});

test("packets are short enough for any path as long as they are copied, and longer ones are not", (t) => {
  const { stranded, send, again, migrate } = onDirectPath();
  t.same([stranded.limit(49, 1472), stranded.limit(50, 1472), stranded.limit(50, 1100)], [1472, 1200, 1100]);
  send(60, 1, 1201);
  send(60, 2, 1200);
  migrate(200);
  t.same(again(), [2]);
});

test("what a silent path lost is asked for at once, what may still be under way 250 ms later", (t) => {
  const silent = onDirectPath();
  silent.migrate(100);
  t.equal(silent.stranded.deadline(100), null);
  silent.stranded.send(100, out);
  t.same(silent.pings, [2]);
  const alive = onDirectPath();
  alive.migrate(99);
  alive.stranded.send(348, out);
  t.same([alive.pings, alive.stranded.deadline(99)], [[], 349]);
  alive.stranded.send(349, out);
  t.same(alive.pings, [2]);
});

test("a path that packets come from, but no answers to checks, is silent", (t) => {
  const { stranded, migrate, pings } = onDirectPath();
  stranded.beforeReceive(90, direct, false);
  stranded.isSuspect = true;
  migrate(99);
  stranded.send(99, out);
  t.same(pings, [2]);
});

test("eight paths that were left are kept in mind, and one that is gone back to is not among them", (t) => {
  const { stranded, pings } = onDirectPath();
  for (let port = 3; port <= 12; port++) stranded.migrated(1_000 * port, path(port));
  stranded.migrated(13_000, path(5));
  stranded.send(20_000, out);
  t.same(pings, [4, 6, 7, 8, 9, 10, 11, 12]);
});
