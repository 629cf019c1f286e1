import { parseSocketAddress } from "@adit/core";
import { test } from "@adit/harness";
import { Switchboard, type SwitchboardOptions } from "../src/peer/switchboard.ts";

test("of a datagram whose bytes are lent, only what is read at once is handed on without a copy", (t) => {
  const from = parseSocketAddress("192.0.2.1:7");
  const got: Uint8Array[] = [];
  const switchboard = new Switchboard({
    presences: { relayAt: () => null, signalingAt: () => null, relay: () => null },
    sense: { handleDatagram: () => false },
    demux: { handleDatagram: (_now: number, _socket: number, _from: unknown, data: Uint8Array) => got.push(data) },
  } as unknown as SwitchboardOptions);
  const firstBytes = [0x00, 0x01, 0xc0, 0xff, 0x40, 0x7f];
  const lent = firstBytes.map((first) => new Uint8Array([first, 1, 2, 3]));
  switchboard.receive(
    0,
    1,
    lent.map((data) => ({ data, from })),
  );
  for (const data of lent) data.fill(9);
  t.same(
    got.map(([first]) => first),
    [0x00, 0x01, 0xc0, 0xff, 9, 9],
  );
});
