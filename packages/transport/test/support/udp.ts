import { parseSocketAddress, type SocketAddress } from "@adit/core";
import type { T } from "@adit/harness";
import { bindUdp } from "../../src/udp/bind.ts";
import type { Incoming, UdpRuntime, UdpSocket } from "../../src/udp/udp.ts";

export interface TestSocket {
  readonly socket: UdpSocket;
  readonly address: SocketAddress;
  /** Everything that came, in order. */
  readonly got: Incoming[];
  /** The sizes of the batches in which it came. */
  readonly batches: number[];
  readonly drains: () => number;
  /** Sends single datagrams. */
  send(...datagrams: readonly (readonly [Uint8Array, SocketAddress])[]): number;
}

/** Binds a socket (127.0.0.1, any port, unless told otherwise) that records, and closes it when the test ends. */
export async function open(t: T, runtime: UdpRuntime, address = "127.0.0.1:0"): Promise<TestSocket> {
  const got: Incoming[] = [];
  const batches: number[] = [];
  let drains = 0;
  const socket = await bindUdp({
    address: parseSocketAddress(address),
    runtime,
    handlers: {
      onBatch: (batch) => {
        got.push(...batch);
        batches.push(batch.length);
      },
      onDrain: () => void drains++,
    },
  });
  t.teardown(() => socket.close());
  return {
    socket,
    address: socket.address,
    got,
    batches,
    drains: () => drains,
    send: (...datagrams) => socket.send(datagrams.map(([data, to]) => ({ data, to }))),
  };
}

/** Waits until `condition` holds; fails with `what` after `timeoutMs`. */
export async function until(condition: () => boolean, what: string, timeoutMs = 15_000): Promise<void> {
  const limit = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > limit) throw new Error(`timed out waiting until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** A datagram that begins with a number, u32 big-endian, and has `sizeBytes` in all. */
export function numbered(number: number, sizeBytes = 4): Uint8Array {
  const data = new Uint8Array(Math.max(4, sizeBytes)).fill(number);
  new DataView(data.buffer).setUint32(0, number);
  return data;
}

export const numberOf = ({ data }: { readonly data: Uint8Array }): number =>
  new DataView(data.buffer, data.byteOffset).getUint32(0);

/** 0, 1, ... length - 1. */
export const range = (length: number): number[] => Array.from({ length }, (_, i) => i);
