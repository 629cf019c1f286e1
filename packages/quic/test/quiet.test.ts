// What a connection that has nothing to say costs: a program with one busy connection asks all of them in each round.
import { type T, test } from "@adit/harness";
import { quiche } from "../src/native.ts";
import { now, Pair } from "./pair.ts";

/** How often the native library was called so far, by method. */
function countCalls(t: T): Map<string, number> {
  const calls = new Map<string, number>();
  const { prototype: methods } = quiche.Connection as unknown as {
    prototype: Record<string, (...args: unknown[]) => unknown>;
  };
  for (const name of ["send", "sendOnPath", "readable", "streamRecv"]) {
    const method = methods[name];
    if (!method) throw new Error(`the binding has no ${name}`);
    methods[name] = function (...args) {
      calls.set(name, (calls.get(name) ?? 0) + 1);
      return method.apply(this, args);
    };
    t.teardown(() => {
      methods[name] = method;
    });
  }
  return calls;
}

test("a connection that has said everything is not asked again before something happens", (t) => {
  const { client } = new Pair().handshake();
  const out = new Uint8Array(2048);
  const stream = client.openStream();
  while (client.send(out)) {}
  const calls = countCalls(t);
  for (let i = 0; i < 3; i++) t.equal(client.send(out), null);
  t.same([...calls], []);

  stream.write(new Uint8Array(100));
  t.ok(client.send(out), "what was written leaves");
  t.equal(client.send(out), null);
  client.sendAckEliciting();
  t.ok(client.send(out), "a PING leaves");
  t.equal(client.send(out), null);
  const asked = calls.get("send");
  client.handleTimeout(now());
  client.send(out);
  t.equal(calls.get("send"), (asked ?? 0) + 1, "a timer may have brought something");
});

test("a small request is read in two calls, and nobody lists the streams that can be read", async (t) => {
  const pair = new Pair().handshake();
  const into = new Uint8Array(1000);
  pair.onServerStream = (stream) => {
    stream.onReadable = () => {
      for (let got = stream.read(into); typeof got === "number"; got = stream.read(into))
        stream.write(into.subarray(0, got));
    };
  };
  const stream = pair.client.openStream();
  let answered = 0;
  stream.onReadable = () => {
    for (let got = stream.read(into); typeof got === "number"; got = stream.read(into)) answered += got;
  };
  stream.write(new Uint8Array(100));
  await pair.until(() => answered === 100, "the first answer");

  const calls = countCalls(t);
  stream.write(new Uint8Array(100));
  await pair.until(() => answered === 200, "the second");
  t.equal(calls.get("readable") ?? 0, 0);
  t.equal(calls.get("streamRecv"), 4, "two at each end: the bytes, and that there are no more");
});
