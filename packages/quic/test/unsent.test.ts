// A driver that sends a few packets a turn: acknowledgements come while a part of what was written has not left.
import { test } from "@adit/harness";
import { Pair, pour } from "./pair.ts";

const STREAMS = 16;

/** All streams pour as much as they can, and are read as it comes. */
function pouring(packetsPerTurn: number, bytesEach: number): Pair {
  const window = { initialStreamWindowBytes: bytesEach };
  const pair = new Pair({ client: window, server: window }).handshake();
  const into = new Uint8Array(65_536);
  pair.onServerStream = (stream) => {
    stream.onReadable = () => {
      while (typeof stream.read(into) === "number");
    };
  };
  pair.clientPacketsPerTurn = packetsPerTurn;
  for (let i = 0; i < STREAMS; i++) pour(pair.client.openStream(), new Uint8Array(bytesEach));
  return pair;
}

test("no more is taken to be sent than the congestion window has room for", async (t) => {
  const bytesEach = 200_000;
  const pair = pouring(8, bytesEach);
  let most = 0;
  const isOver = (): boolean => {
    const pending = pair.client.sentBytes - pair.peer.receivedBytes;
    const window = pair.client.pathStats()[0]?.congestionWindowBytes ?? 0;
    most = Math.max(most, pending / window);
    return pair.peer.receivedBytes === STREAMS * bytesEach;
  };
  await pair.steps(isOver, "all of it");
  t.ok(most <= 1, `${most.toFixed(2)} windows were taken and had not arrived`);
});

test("who was passed over is asked again, though nothing more is heard", async (t) => {
  const bytesEach = 20_000;
  const pair = pouring(1, bytesEach); // each packet is acknowledged before the next is asked for, and so is the last
  await pair.until(() => pair.peer.receivedBytes === STREAMS * bytesEach, "all of it");
  t.equal(pair.client.sentBytes, STREAMS * bytesEach);
});
