import type { SocketAddress, SocketId } from "@adit/core";
import type { Candidate } from "@adit/ice";

/** One for each intermediate that the two share; what comes beyond is left to ICE. */
const MAX_TARGETS = 8;

/** The connector's relayed candidates, any of which the first handshake may go to, before anything was checked. */
export class RelayedTargets {
  #candidates: Candidate[] = [];

  add(candidate: Candidate): void {
    if (this.#candidates.length < MAX_TARGETS) this.#candidates.push(candidate);
  }

  /**
   * Where the handshake goes, once; null while nothing leads to any of them. A relay at an intermediate that does not know the session
   * yet lets nothing of it through: those that do go first.
   */
  take(
    knowsUs: (relayed: SocketAddress) => boolean,
    socketTo: (relayed: SocketAddress) => SocketId | null,
  ): { readonly socket: SocketId; readonly address: SocketAddress } | null {
    const inOrder = [...this.#candidates].sort((a, b) => Number(knowsUs(b.address)) - Number(knowsUs(a.address)));
    for (const { address } of inOrder) {
      const socket = socketTo(address);
      if (socket === null) continue;
      this.#candidates = [];
      return { socket, address };
    }
    return null;
  }
}
