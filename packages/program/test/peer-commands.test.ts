import { test } from "@adit/harness";
import { CONGESTION_CONTROLS, DEFAULT_CONGESTION } from "@adit/quic";
import { congestionControlOption, congestionControls } from "../src/peer-commands.ts";

test("--congestion-control offers what the library has, with the same default", (t) => {
  t.same([...congestionControls].sort(), [...CONGESTION_CONTROLS].sort());
  t.equal(congestionControlOption.schema.parse(undefined), DEFAULT_CONGESTION);
});
