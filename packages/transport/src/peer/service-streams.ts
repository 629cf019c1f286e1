/** The head of a service stream, on both sides: what is wanted, and the answer (docs/protocol.md, service streams). */
import type { QuicStream } from "@adit/quic";
import { type OpenService, openServiceCodec, type ServiceReply, serviceReplyCodec } from "@adit/signaling";
import { ServiceRefusedError } from "../errors.ts";
import { CLOSE_CODE } from "./close-code.ts";
import { readFirstFrame, writeFrame } from "./framed-stream.ts";

/** A stream that was opened has to say what it wants within this time, ms. */
const REQUEST_TIMEOUT_MS = 5_000;
/** And has its answer within this: the connector has 5 s to reach the service itself. */
const REPLY_TIMEOUT_MS = 10_000;

/** A stream that asks for a service, handed up by a session. */
export interface ServiceStream {
  readonly stream: QuicStream;
  readonly name: string;
  readonly protocol: "tcp" | "udp";
}

/** Bytes of heads, in both directions: they are no application's. */
export interface HeadBytes {
  sent: number;
  received: number;
}

/** Asks for a service; the stream, once it was accepted. `onRequested`: what is written now comes right behind the request. @throws ServiceRefusedError, the stream's errors, Error after the time is over. */
export async function requestService(
  stream: QuicStream,
  request: OpenService,
  head: HeadBytes,
  onRequested: (stream: QuicStream) => void,
): Promise<QuicStream> {
  const frame = openServiceCodec.encodeFrame(request);
  head.sent += frame.length;
  const reply = await within(REPLY_TIMEOUT_MS, stream, async () => {
    await writeFrame(stream, frame);
    onRequested(stream);
    return readFirstFrame(stream, serviceReplyCodec, (bytes) => {
      head.received += bytes;
    });
  });
  if (reply.type === "accepted") return stream;
  stream.reset(CLOSE_CODE.refused);
  throw new ServiceRefusedError(reply.code, reply.reason);
}

/** What the opener wants. A stream that does not say is given up. */
export function readRequest(stream: QuicStream, head: HeadBytes): Promise<OpenService> {
  return within(REQUEST_TIMEOUT_MS, stream, () =>
    readFirstFrame(stream, openServiceCodec, (bytes) => {
      head.received += bytes;
    }),
  );
}

export async function answerService(stream: QuicStream, reply: ServiceReply, head: HeadBytes): Promise<void> {
  const frame = serviceReplyCodec.encodeFrame(reply);
  head.sent += frame.length;
  await writeFrame(stream, frame);
}

/** What fails, or takes longer, ends the stream both ways. */
async function within<V>(timeoutMs: number, stream: QuicStream, action: () => Promise<V>): Promise<V> {
  const giveUp = (): void => {
    stream.reset(CLOSE_CODE.protocol);
    stream.stopSending(CLOSE_CODE.protocol);
  };
  const timer = setTimeout(giveUp, timeoutMs);
  try {
    return await action();
  } catch (error) {
    giveUp();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
