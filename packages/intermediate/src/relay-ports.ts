/** Which port of a relayed IP address is whose, and which one comes next: one range for each address family. */
import { type IpFamily, type Millis, type Random, randomInt, type SocketAddress } from "@adit/core";
import type { Relay } from "./allocation.ts";

/** One family of relayed addresses. */
export interface RelayedIp {
  readonly family: IpFamily;
  /** Where relay sockets are bound. */
  readonly bindIp: string;
  /** The IP address in XOR-RELAYED-ADDRESS. */
  readonly relayedIp: string;
}

/** RFC 8656 §7.2 on a port kept for RESERVATION-TOKEN: "The server ... SHOULD ... at least 30 seconds". */
export const RESERVATION_MS = 30_000;

/** A port that is kept for whoever comes with its token. */
export interface Reservation {
  /** 8 bytes. */
  readonly token: Uint8Array;
  readonly family: IpFamily;
  readonly port: number;
  /** {@link TurnOwner.key} of who asked for it. */
  readonly owner: string;
  readonly expiresAt: Millis;
}

export class RelayPorts {
  readonly relayedIp: string;
  readonly bindIp: string;
  readonly #first: number;
  readonly #last: number;
  readonly #random: Random;
  readonly #holders = new Map<number, Relay | Reservation>();
  /** How many ports nobody holds, by whether they are even: a range without any is not searched for each request. */
  readonly #free = { even: 0, odd: 0 };

  constructor(ip: RelayedIp, range: { readonly first: number; readonly last: number }, random: Random) {
    this.relayedIp = ip.relayedIp;
    this.bindIp = ip.bindIp;
    this.#first = range.first;
    this.#last = range.last;
    this.#random = random;
    const [beforeFirst, last] = [range.first - 1, range.last];
    this.#free.even = Math.floor(last / 2) - Math.floor(beforeFirst / 2);
    this.#free.odd = last - beforeFirst - this.#free.even;
  }

  /** The relay that is bound to this address, if it is one of ours. */
  relayAt(address: SocketAddress): Relay | undefined {
    return address.ip === this.relayedIp ? this.relayOf(address.port) : undefined;
  }

  relayOf(port: number): Relay | undefined {
    const holder = this.#holders.get(port);
    return holder && "bound" in holder && holder.bound ? holder : undefined;
  }

  hold(port: number, holder: Relay | Reservation): void {
    if (!this.#holders.has(port)) this.#free[parityOf(port)]--;
    this.#holders.set(port, holder);
  }

  release(port: number): void {
    if (this.#holders.delete(port)) this.#free[parityOf(port)]++;
  }

  /**
   * A port that nobody holds, from a random one upwards: RFC 8656 §7.2 wants relayed ports hard to guess. After a failure the search
   * goes on behind the port that failed. `pair`: even, and with the next port free too.
   */
  find(after: number | null, want: "any" | "even" | "pair"): number | null {
    if (!this.#mayHave(want)) return null;
    const size = this.#last - this.#first + 1;
    const start = after === null ? randomInt(this.#random, size) : after - this.#first + 1;
    for (let i = 0; i < size; i++) {
      const port = this.#first + ((start + i) % size);
      if (this.#isFree(port) && (want === "any" || (port % 2 === 0 && (want === "even" || this.#isFree(port + 1))))) {
        return port;
      }
    }
    return null;
  }

  #mayHave(want: "any" | "even" | "pair"): boolean {
    const { even, odd } = this.#free;
    if (want === "any") return even + odd > 0;
    return even > 0 && (want === "even" || odd > 0);
  }

  #isFree(port: number): boolean {
    return port <= this.#last && !this.#holders.has(port);
  }
}

const parityOf = (port: number): "even" | "odd" => (port % 2 === 0 ? "even" : "odd");
