/**
 * A client of tomorrow: it says Hello with a version that today's intermediate does not know. Prints the answer, and the close.
 *   future-client.ts IP:PORT
 */
import { PROTOCOL_VERSION, signalingCodec } from "@adit/signaling";
import { run, say } from "./endpoint.ts";

const DEADLINE_MS = 8000;

const [host = "", port = ""] = (process.argv[2] ?? "").split(":");
setTimeout(() => {
  say("timeout", { message: `no answer and close within ${DEADLINE_MS} ms` });
  process.exit(1);
}, DEADLINE_MS);

await run(
  { listen: host, port: 0, address: { host, port: Number(port) } },
  {
    onReady(_connection, stream) {
      const hello = { type: "hello", version: PROTOCOL_VERSION + 1, agent: "adit/99.0.0", role: "agent" } as const;
      stream.write(signalingCodec.encodeFrame(hello));
    },
    onFrame(payload) {
      const message = signalingCodec.decode(payload);
      if (message.type === "error") say("error", { code: message.code, message: message.message });
      else say("unexpected", { type: message.type });
    },
    onClosed({ by, code, reason }) {
      say("closed", { by, code, reason });
      process.exit(by === "peer" ? 0 : 1);
    },
  },
);
