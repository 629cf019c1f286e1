import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SocketAddress, seededRandom } from "@adit/core";
import { type T, test } from "@adit/harness";
import { type FormerClient, FormerClientsFile } from "../src/former-clients.ts";
import { SignalingKit } from "./signaling-kit.ts";

function pathOf(t: T): string {
  const dir = mkdtempSync(join(tmpdir(), "adit-clients-"));
  t.teardown(() => rmSync(dir, { recursive: true }));
  return join(dir, "clients.txt");
}

test("what was written is read; a clean end leaves nothing; nonsense is passed over", async (t) => {
  const file = pathOf(t);
  const random = seededRandom(2);
  const clients = ["192.0.2.1:1000", "[2001:db8::1]:2000"].map((text) => ({
    connectionId: random.bytes(20),
    address: SocketAddress.of(text.replace(/:\d+$/, "").replace(/[[\]]/g, ""), Number(/\d+$/.exec(text)?.[0])),
  }));
  const first = new FormerClientsFile(file);
  t.same(first.read(), []);
  t.ok(await first.write(clients));
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.same(
    new FormerClientsFile(file)
      .read()
      .map(({ address }) => address.key)
      .sort(),
    clients.map(({ address }) => address.key).sort(),
  );
  await first.remove();
  t.notOk(existsSync(file));
  t.notOk(await first.write(clients), "nothing is written behind a clean end");
  writeFileSync(file, "x\n00 1.2.3.4:5\n\u0000\u0001\nffff 9.9.9.9\n");
  t.same(new FormerClientsFile(file).read(), []);
  t.notOk(await new FormerClientsFile(join(file, "no-directory")).write(clients), "it fails without a throw");
});

test("the same clients, in whatever order, are not written again; others are", async (t) => {
  const path = pathOf(t);
  const random = seededRandom(3);
  const clients = [1, 2].map((port) => ({
    connectionId: random.bytes(20),
    address: SocketAddress.of("192.0.2.1", port),
  }));
  const file = new FormerClientsFile(path);
  const written = async (some: readonly FormerClient[]): Promise<number> => {
    t.ok(await file.write(some));
    return statSync(path).ino; // a replaced file is another one
  };
  const first = await written(clients);
  t.equal(await written([...clients].reverse()), first);
  t.notEqual(await written(clients.slice(1)), first);
  t.equal(new FormerClientsFile(path).read().length, 1);
});

test("after a crash idle clients are told at once, without having sent anything", async (t) => {
  const kit = new SignalingKit();
  const idle = [kit.join("connector", { name: "a" }), kit.join("connector", { name: "b" }), kit.join("agent")];
  await kit.until("all are up", () => idle.every((peer) => peer.client.isUp));
  const former = [...kit.server.clients()];
  t.same(former.map(({ address }) => address.key).sort(), idle.map(({ address }) => address.key).sort());
  kit.restartServer();
  for (const peer of idle) peer.events.length = 0;
  kit.server.tellFormer(kit.now, former);
  await kit.until("all are down", () => idle.every((peer) => peer.event("down") !== undefined), 1_000);
  await kit.until("all are up again", () => idle.every((peer) => peer.client.isUp), 4_000);
  t.equal(kit.server.entrance.resetsSent, 3);
});
