import { test } from "@adit/harness";
import { SendRate } from "../src/send-rate.ts";
import { type Writer, Writers } from "../src/writers.ts";

/** Takes what `room` has when asked, and waits again. */
class Waiting implements Writer {
  isBulk: boolean;
  served = 0;
  readonly #writers: Writers;
  readonly #room: { left: number };
  goesOn = true;

  constructor(writers: Writers, room: { left: number }, isBulk: boolean) {
    this.#writers = writers;
    this.#room = room;
    this.isBulk = isBulk;
    writers.add(this);
  }

  pumpWritable(): boolean {
    if (this.#room.left === 0) return false;
    this.#room.left--;
    this.served++;
    if (this.goesOn) this.#writers.add(this);
    return true;
  }
}

test("equals are served in turn, however little there is each time", (t) => {
  const [writers, room] = [new Writers(), { left: 0 }];
  const waiting = [1, 2, 3, 4, 5].map(() => new Waiting(writers, room, false));
  for (let i = 0; i < 20; i++) {
    room.left = 1;
    writers.pump();
  }
  t.same(
    waiting.map(({ served }) => served),
    [4, 4, 4, 4, 4],
  );
});

test("who has little to say goes before bulk, which is held up and never stopped", (t) => {
  const [writers, room] = [new Writers(), { left: 0 }];
  const bulk = new Waiting(writers, room, true);
  const light = new Waiting(writers, room, false);
  for (let i = 0; i < 90; i++) {
    room.left = 1;
    writers.pump();
  }
  t.equal(light.served, 80);
  t.equal(bulk.served, 10);
  light.goesOn = false;
  for (let i = 0; i < 10; i++) {
    room.left = 1;
    writers.pump();
  }
  t.equal(light.served, 81, "it wants no more and is not asked again");
  t.equal(bulk.served, 19);
});

test("a stream that changes sides waits on the other one", (t) => {
  const [writers, room] = [new Writers(), { left: 1 }];
  const changed = new Waiting(writers, room, false);
  const light = new Waiting(writers, room, false);
  changed.isBulk = true;
  writers.pump();
  t.equal(changed.served, 1, "it was asked where it stood");
  room.left = 1;
  writers.pump();
  t.equal(light.served, 1);
  writers.delete(light);
  writers.delete(changed);
  room.left = 2;
  writers.pump();
  t.equal(room.left, 2, "nobody waits any more");
});

for (const [name, chunks, isBulk] of [
  ["a request of 100 KB", [[0, 100_000]], false],
  ["a file", Array.from({ length: 10 }, (_, i) => [i * 10, 64_000]), true],
  ["a call of 400 kb/s for a minute", Array.from({ length: 3000 }, (_, i) => [i * 20, 1000]), false],
  [
    "a file, and five seconds later a line",
    [
      [0, 64_000],
      [1, 64_000],
      [2, 64_000],
      [5000, 80],
    ],
    false,
  ],
] as const) {
  test(`${name} ${isBulk ? "is" : "is not"} bulk`, (t) => {
    const rate = new SendRate();
    for (const [now, bytes] of chunks as readonly (readonly [number, number])[]) rate.sent(now, bytes);
    t.equal(rate.isBulk, isBulk);
  });
}

test("a change of sides is told once", (t) => {
  const rate = new SendRate();
  t.same(
    [100_000, 100_000, 100_000].map((bytes) => rate.sent(0, bytes)),
    [false, true, false],
  );
  t.ok(rate.sent(10_000, 1), "silence makes it light again");
});
