import { test } from "@adit/harness";
import { AnswerWait } from "../src/answer-wait.ts";
import { now, Pair, pattern, pour, Sink } from "./pair.ts";

const LONG = 1200;
const SHORT = 120;

/** A wait that has heard one short packet at 0 which brought 100 bytes of a stream. */
function asked(): AnswerWait {
  const wait = new AnswerWait();
  wait.handleReceived(0, SHORT);
  return wait;
}

test("the acknowledgement of a lone question waits for 5 ms", (t) => {
  const wait = asked();
  t.ok(wait.waits(0, 100));
  t.equal(wait.deadline, 5);
  t.ok(wait.waits(3, 100));
  t.equal(wait.deadline, 5, "asked again it waits no longer");
  wait.handleTimeout(4.9);
  t.ok(wait.waits(4.9, 100));
  wait.handleTimeout(5);
  t.notOk(wait.waits(5, 100));
  t.equal(wait.deadline, null);
});

test("it does not wait where the sender may need it, or there is something to send", (t) => {
  t.notOk(new AnswerWait().waits(0, 0), "nothing came");
  t.notOk(asked().waits(0, 0), "no bytes of a stream came");

  const two = asked();
  two.handleReceived(1, SHORT);
  t.notOk(two.waits(1, 200), "RFC 9000 §13.2.2: two packets");

  const between = asked();
  t.ok(between.waits(0, 100));
  between.handleReceived(1, SHORT);
  t.notOk(between.waits(1, 200), "a second one while the first waits");

  const stopped = asked();
  stopped.stop();
  t.notOk(stopped.waits(0, 100), "something else is to be sent");

  for (const way of ["handleReceived", "handleSent"] as const) {
    const wait = new AnswerWait();
    wait[way](0, LONG);
    wait.handleFlushed(0);
    wait.handleReceived(99, SHORT);
    t.notOk(wait.waits(99, 100), `a transfer goes on: ${way}`);
    t.ok(wait.waits(100, 100), `it is over: ${way}`);
  }
});

test("what has left does not wait, and the next question does", (t) => {
  const wait = asked();
  t.ok(wait.waits(0, 100));
  wait.handleFlushed(100);
  t.equal(wait.deadline, null);
  wait.handleReceived(1, SHORT);
  t.notOk(wait.waits(1, 100), "it brought nothing");
  t.ok(wait.waits(1, 200));
});

test("a question and its answer, one after the other, are two packets", async (t) => {
  const waits = { waitsForAnswers: true };
  const pair = new Pair({ client: waits, server: waits }).handshake();
  const into = new Uint8Array(1000);
  pair.onServerStream = (stream) => {
    stream.onReadable = () => {
      for (let got = stream.read(into); typeof got === "number"; got = stream.read(into))
        stream.write(into.subarray(0, got));
    };
  };
  const stream = pair.client.openStream();
  let answers = 0;
  stream.onReadable = () => {
    for (let got = stream.read(into); typeof got === "number"; got = stream.read(into)) answers++;
    if (answers < 20) stream.write(new Uint8Array(100));
  };
  stream.write(new Uint8Array(100));
  const calm = now() + 120; // after the handshake's long packets
  await pair.until(() => now() > calm && answers === 20, "the first answers");
  answers = 0;
  const before = pair.packets;
  stream.write(new Uint8Array(100));
  pair.exchange();
  t.equal(answers, 20);
  t.ok(pair.packets - before <= 44, `${pair.packets - before} packets for 20 questions and their answers`);
  const last = pair.packets;
  await pair.until(() => pair.packets > last, "the last answer is acknowledged, though nothing follows it");
});

test("a transfer's acknowledgements do not wait", async (t) => {
  const waits = { waitsForAnswers: true };
  const pair = new Pair({ client: waits, server: waits }).handshake();
  let sink: Sink | null = null;
  pair.onServerStream = (stream) => {
    sink = new Sink(stream);
  };
  const data = pattern(2_000_000);
  pour(pair.client.openStream(), data);
  pair.exchange(); // no timer is waited for: all that was sent is acknowledged as it comes
  t.equal(pair.peer.receivedBytes, data.length);
  t.ok(Buffer.from((sink as Sink | null)?.bytes ?? []).equals(data));
});
