import { createServer } from "node:net";
import { FIRST_RELAY_ID, nullLogger, utf8 } from "@adit/core";
import { test } from "@adit/harness";
import { LocalSockets } from "../src/driver/local-sockets.ts";

const quiet = { onDatagram: () => {}, onClosed: () => {}, isKnown: () => false, log: nullLogger };

test("networks come and go for as long as they like: IDs are used again, and never reach those of allocations", async (t) => {
  const sockets = new LocalSockets({ ...quiet, tcp: true });
  t.teardown(() => sockets.close());
  await sockets.open("127.0.0.1");
  let highest = 0;
  for (let i = 0; i < 400; i++) {
    const opened = await sockets.open("127.0.0.2");
    t.same(
      opened.map(({ tcpType }) => tcpType),
      [null, "active", "passive"],
    );
    highest = Math.max(highest, ...opened.map(({ id }) => id));
    t.equal(sockets.remove("127.0.0.2").length, 3);
  }
  t.ok(highest < 10 && highest < FIRST_RELAY_ID, `${highest}`);
  t.equal(sockets.all.length, 3);
});

test("an address is opened whole or not at all: where TCP cannot listen, UDP is closed again", async (t) => {
  const other = createServer();
  t.teardown(() => void other.close());
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  const bound = other.address();
  const port = typeof bound === "object" && bound ? bound.port : 0;
  const sockets = new LocalSockets({ ...quiet, tcp: true });
  t.teardown(() => sockets.close());
  await t.rejects(sockets.open(`127.0.0.1:${port}`), { code: "bind-failed" });
  t.same(sockets.all, []);
});

test("what cannot be opened leaves nothing behind, and what is gone swallows what is sent", async (t) => {
  const sockets = new LocalSockets({ ...quiet, tcp: false });
  const [first] = await sockets.open("127.0.0.1");
  await t.rejects(sockets.open(`127.0.0.1:${t.must(first).address.port}`), { code: "bind-failed" });
  t.equal((await sockets.open("127.0.0.1"))[0]?.id, 1, "the ID is free again");
  await new Promise<void>((sent) => sockets.send(77, utf8("x"), t.must(first).address, sent));
  await sockets.close();
  await new Promise<void>((sent) => sockets.send(0, utf8("x"), t.must(first).address, sent));
});
