import { test } from "@adit/harness";
import { controlCodec } from "@adit/signaling";
import { streamEnd, streamEnding } from "../src/peer/stream-endings.ts";

test("how a stream ended is read as it was said, over the wire", (t) => {
  for (const ending of [
    { id: 4, sentBytes: 0, resetCode: null },
    { id: 2 ** 40, sentBytes: Number.MAX_SAFE_INTEGER, resetCode: null },
    { id: 8, sentBytes: 0, resetCode: 0 },
    { id: 8, sentBytes: 0, resetCode: Number.MAX_SAFE_INTEGER },
  ]) {
    const payload = controlCodec.encodeFrame(streamEnd(ending)).subarray(4);
    const message = controlCodec.decode(payload);
    t.same(message.type === "stream-end" ? streamEnding(message) : message, ending);
  }
  t.equal(
    streamEnd({ id: 4, sentBytes: 9, resetCode: 3 }).bytes,
    2n ** 62n + 3n,
    "what was written before a reset is void",
  );
});
