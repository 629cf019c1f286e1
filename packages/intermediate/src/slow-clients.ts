/**
 * What clients of signaling make us keep that read slowly, or do not finish what they began to say: each is bounded, and so are all together.
 * Past that bound the address whose clients hold most loses the one that has held something for longest, until the rest fits.
 */
import type { SocketAddress } from "@adit/core";
import { siteOf, sourceKey } from "./ip-limits.ts";

/** For all clients together: a thousand that hold what the signaling of many sessions needs, for a moment. */
export const MAX_HELD_BYTES = 64 * 1024 * 1024;

interface Held {
  readonly source: string;
  bytes: number;
}

export class SlowClients<Client> {
  readonly #maxBytes: number;
  /** Those that hold anything, in the order in which they began to. */
  readonly #held = new Map<Client, Held>();
  #bytes = 0;

  constructor(maxBytes = MAX_HELD_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** In all. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The client holds so many bytes now. */
  note(client: Client, from: SocketAddress, bytes: number): void {
    const held = this.#held.get(client);
    this.#bytes += bytes - (held?.bytes ?? 0);
    if (bytes === 0) this.#held.delete(client);
    else if (held) held.bytes = bytes;
    else this.#held.set(client, { source: originOf(from), bytes });
  }

  /** Takes out who has to go. */
  takeExcess(): Client[] {
    if (this.#bytes <= this.#maxBytes) return [];
    const bySource = new Map<string, { bytes: number; readonly clients: Client[] }>();
    for (const [client, { source, bytes }] of this.#held) {
      const sum = bySource.get(source);
      if (sum) {
        sum.bytes += bytes;
        sum.clients.push(client);
      } else bySource.set(source, { bytes, clients: [client] });
    }
    const excess: Client[] = [];
    const sources = [...bySource.values()];
    while (this.#bytes > this.#maxBytes) {
      const greediest = sources.reduce((a, b) => (b.bytes > a.bytes ? b : a));
      const client = greediest.clients.shift() as Client;
      const held = this.#held.get(client) as Held;
      greediest.bytes -= held.bytes;
      this.#bytes -= held.bytes;
      this.#held.delete(client);
      excess.push(client);
    }
    return excess;
  }
}

/** By whole sites: who has 65,536 /64s would otherwise hold little in each, and the honest ones most. */
function originOf({ ip }: SocketAddress): string {
  const source = sourceKey(ip);
  return siteOf(source) ?? source;
}
