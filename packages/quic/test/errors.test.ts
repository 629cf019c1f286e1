import { test } from "@adit/harness";
import { type CloseReason, describeClose } from "../src/index.ts";

const words: readonly (readonly [CloseReason, string])[] = [
  [{ by: "local", isApp: false, code: 10, reason: "" }, "this side closed the connection (PROTOCOL_VIOLATION)"],
  [{ by: "peer", isApp: false, code: 0x12a, reason: "" }, "the peer closed the connection (transport code 298)"],
  [{ by: "peer", isApp: true, code: 10, reason: "done" }, "the peer closed the connection (application code 10): done"],
];

for (const [close, sentence] of words) {
  test(`who closed a connection, and with which code: ${sentence}`, (t) => t.equal(describeClose(close), sentence));
}
