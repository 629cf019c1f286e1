import { test } from "@adit/harness";
import { type Congestion, QuicConfig } from "../src/index.ts";
import { quiche } from "../src/native.ts";
import { SendStamps } from "../src/send-stamps.ts";
import { alice, Pair, pattern, pour, Sink } from "./pair.ts";

test("packets of every other pass that sends anything are a byte shorter, and none is too short for a path validation", (t) => {
  const stamps = new SendStamps();
  const limits: number[] = [];
  for (const sends of [true, false, false, true, true]) {
    limits.push(stamps.limit(1400), stamps.limit(1200));
    if (sends) stamps.sent();
    stamps.passOver();
  }
  t.same(limits, [1400, 1200, 1399, 1200, 1399, 1200, 1399, 1200, 1400, 1200]);
});

test("so no two flights of a transfer have packets of the same length", async (t) => {
  const size = { maxDatagramSizeBytes: 1400 };
  const pair = new Pair({ client: size, server: size }).handshake();
  const flights: Set<number>[] = [];
  let last: number | null = null;
  pair.network = (packet) => {
    if (!packet.up || packet.data.length < 1399) return [packet];
    if (last !== packet.data.length) flights.push(new Set());
    last = packet.data.length;
    flights.at(-1)?.add(last);
    return [packet];
  };
  let sink: Sink | null = null;
  pair.onServerStream = (stream) => {
    sink = new Sink(stream);
  };
  const data = pattern(500_000);
  pour(pair.client.openStream(), data);
  await pair.until(() => sink?.ended ?? false, "all of it");
  t.ok(flights.length > 5, `${flights.length} flights`);
  t.ok(Buffer.from((sink as Sink | null)?.bytes ?? []).equals(data));
});

for (const [congestion, isPaced] of [
  ["cubic", true],
  ["reno", true],
  ["bbr", false],
  [undefined, true],
] as const satisfies readonly (readonly [Congestion | undefined, boolean])[]) {
  test(`quiche's pacer stamps packets of ${congestion ?? "the default"}: ${isPaced}; HyStart, which would misread the stamps, is off`, (t) => {
    const { prototype } = quiche.Config as unknown as { prototype: Record<string, (is: boolean) => void> };
    const { enablePacing, enableHystart } = prototype as Record<string, (is: boolean) => void>;
    const asked: Record<string, boolean> = {};
    for (const name of ["enablePacing", "enableHystart"]) {
      prototype[name] = (is) => {
        asked[name] = is;
      };
    }
    try {
      const options = { role: "client", identity: alice, alpn: "test/1", maxIdleTimeoutMs: 1000 } as const;
      QuicConfig.create(congestion === undefined ? options : { ...options, congestion });
    } finally {
      Object.assign(prototype, { enablePacing, enableHystart });
    }
    t.same(asked, { enablePacing: isPaced, enableHystart: false });
  });
}
