/**
 * An intermediate of tomorrow: it takes nobody who speaks today's version.
 *   future-intermediate.ts IP:PORT
 */
import { signalingCodec } from "@adit/signaling";
import { identity, run, say } from "./endpoint.ts";

const [host = "", port = ""] = (process.argv[2] ?? "").split(":");
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => process.exit(0));

const local = await run(
  { listen: host, port: Number(port) },
  {
    onReady: () => {},
    onFrame(payload, connection, stream) {
      const message = signalingCodec.decode(payload);
      if (message.type !== "hello") return;
      say("hello", { version: message.version });
      const text = "this intermediate speaks protocol version 99 only; upgrade adit";
      stream.write(
        signalingCodec.encodeFrame({
          type: "error",
          code: "unsupported-version",
          message: text,
          sessionId: null,
          requestId: null,
        }),
      );
      stream.finish();
      setTimeout(() => connection.close(1, text), 100);
    },
    onClosed: ({ by, code, reason }) => say("closed", { by, code, reason }),
  },
);
say("listening", { address: `${local.host}:${local.port}`, peerId: identity.peerId });
