import type { QuicStream } from "./stream.ts";

const CHUNK_SIZE = 65_536;
/** Shared by all readers: a chunk is copied out of it before anyone else may run. */
const chunk = new Uint8Array(CHUNK_SIZE);

/** A ReadableStream over the direct calls. It buffers nothing: `pull` runs when a reader waits. */
export function makeReadable(stream: QuicStream): ReadableStream<Uint8Array> {
  let cancelled = false;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        for (;;) {
          const result = stream.read(chunk);
          if (result === "end") return controller.close();
          if (result !== "blocked") return controller.enqueue(chunk.slice(0, result));
          await new Promise<void>((resolve) => {
            stream.onReadable = resolve;
          });
          if (cancelled) return;
        }
      },
      cancel(reason) {
        cancelled = true;
        stream.stopSending(applicationCode(reason));
        stream.onReadable?.();
        stream.onReadable = null;
      },
    },
    { highWaterMark: 0 },
  );
}

/** A WritableStream over the direct calls. A write is done when the connection has taken all of it. */
export function makeWritable(stream: QuicStream): WritableStream<Uint8Array> {
  return new WritableStream<Uint8Array>({
    start(controller) {
      stream.onStopped = (error) => controller.error(error);
      controller.signal.addEventListener("abort", () => {
        stream.reset(applicationCode(controller.signal.reason));
        stream.onWritable?.();
        stream.onWritable = null;
      });
    },
    async write(data) {
      if (!(data instanceof Uint8Array)) throw new TypeError("a QUIC stream takes Uint8Array chunks");
      for (let rest = data; rest.length > 0; ) {
        const taken = stream.write(rest);
        if (taken === rest.length) return;
        rest = rest.subarray(taken);
        await new Promise<void>((resolve) => {
          stream.onWritable = resolve;
        });
      }
    },
    close() {
      stream.finish();
    },
    abort(reason) {
      stream.reset(applicationCode(reason));
    },
  });
}

/** An abort reason may carry the code that the peer shall see (`applicationCode`); 0 otherwise. */
function applicationCode(reason: unknown): number {
  const code = (reason as { applicationCode?: unknown } | null | undefined)?.applicationCode;
  return typeof code === "number" && Number.isSafeInteger(code) && code >= 0 ? code : 0;
}
