import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { SocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { decodeStun, STUN_ATTRIBUTE, StunBuilder } from "@adit/ice";
import { type OwnListener, SelfCheck, SILENT_MS } from "../src/self-check.ts";

const UDP: OwnListener = { transport: "udp", address: SocketAddress.of("192.0.2.1", 3478) };
const TCP: OwnListener = { transport: "tcp", address: SocketAddress.of("192.0.2.1", 3478) };

function answerTo(request: Uint8Array): Uint8Array {
  const message = decodeStun(request);
  if (!message) throw new Error("no STUN message");
  const answer = new StunBuilder("success", message.method, message.transactionId);
  return answer.xorAddress(STUN_ATTRIBUTE.XOR_MAPPED_ADDRESS, SocketAddress.of("127.0.0.1", 1)).build();
}

test("a listener that has not answered for 15 s is named, until it answers what it was asked last", (t) => {
  let now = 0;
  const questions: { listener: OwnListener; request: Uint8Array; answer: (data: Uint8Array) => void }[] = [];
  let closed = false;
  const asker = {
    ask: (listener: OwnListener, request: Uint8Array, answer: (data: Uint8Array) => void) =>
      void questions.push({ listener, request, answer }),
    close: () => {
      closed = true;
    },
  };
  const check = new SelfCheck([UDP, TCP], { now: () => now }, asker);
  const last = (transport: "udp" | "tcp") => {
    const found = questions.findLast(({ listener }) => listener.transport === transport);
    if (!found) throw new Error("it was not asked");
    return found;
  };
  t.equal(questions.length, 2, "each is asked at once");
  const first = last("udp");
  now = SILENT_MS;
  t.equal(check.check(), "ok");
  check.ask();
  last("tcp").answer(answerTo(last("tcp").request));
  now++;
  t.equal(check.check(), "not answered for 15 s when asked from this host: STUN over UDP at 192.0.2.1:3478");
  first.answer(answerTo(first.request));
  last("udp").answer(answerTo(first.request));
  last("udp").answer(last("udp").request);
  last("udp").answer(Uint8Array.of(1, 2, 3));
  t.ok(check.check() !== "ok", "an old answer, the question itself, and nonsense are none");
  last("udp").answer(answerTo(last("udp").request));
  t.equal(check.check(), "ok");
  check.close();
  t.ok(closed);
});

test("listeners are asked by UDP and TCP, those on every address over loopback", async (t) => {
  const udp = createSocket("udp4");
  udp.on("message", (data, { port, address }) => udp.send(answerTo(data), port, address));
  await new Promise<void>((resolve) => udp.bind(0, "0.0.0.0", resolve));
  const tcp = createServer((socket) => socket.on("data", (data) => socket.write(answerTo(data))));
  await new Promise<void>((resolve) => tcp.listen(0, "127.0.0.1", resolve));
  const bound = tcp.address();
  if (bound === null || typeof bound === "string") throw new Error("no port");
  let now = 0;
  const check = new SelfCheck(
    [
      { transport: "udp", address: SocketAddress.of("0.0.0.0", udp.address().port) },
      { transport: "tcp", address: SocketAddress.of("127.0.0.1", bound.port) },
    ],
    { now: () => now },
  );
  t.teardown(() => {
    check.close();
    udp.close();
    tcp.close();
  });
  now = SILENT_MS + 1;
  t.ok(check.check() !== "ok");
  // Asked again, as a question may leave before anybody listens for the answer.
  for (let i = 0; i < 500 && check.check() !== "ok"; i++) {
    if (i % 100 === 0) check.ask();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  t.equal(check.check(), "ok");
});
