import { tell } from "./sink.ts";

/** What a sender is to do. */
export interface Job {
  readonly contact: string;
  /** Of all streams together. */
  readonly bytes: number;
  readonly streams: number;
}

/**
 * A peer is a program with two roles, each in a process of its own. `receive BYTES` tells `{ready: CONTACT}` and, when all have come,
 * what a SinkMeter says; `send CONTACT BYTES STREAMS` sends, and lives until it is ended.
 */
export async function runPeer(peer: {
  receive(bytes: number): Promise<void>;
  send(job: Job): Promise<void>;
}): Promise<void> {
  const [role, ...rest] = process.argv.slice(2);
  process.on("SIGTERM", () => process.exit(0)); // in order, so that a profiler writes what it has
  try {
    if (role === "receive") return await peer.receive(Number(rest[0]));
    const [contact = "", bytes, streams] = rest;
    await peer.send({ contact, bytes: Number(bytes), streams: Number(streams) });
  } catch (error) {
    const { cause } = error as Error;
    tell({ failed: cause === undefined ? String(error) : `${error} (${cause})` });
    process.exit(1);
  }
}
