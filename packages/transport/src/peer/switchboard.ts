import { FIRST_RELAY_ID, type Millis, type SocketId, type Transmit } from "@adit/core";
import type { QuicEndpoint } from "@adit/quic";
import type { NetworkSense } from "../nat/network-sense.ts";
import type { Incoming } from "../udp/udp.ts";
import type { Demux } from "./demux.ts";
import type { Presence } from "./presence.ts";
import type { Presences } from "./presences.ts";

export interface SwitchboardOptions {
  readonly presences: Presences;
  readonly sense: NetworkSense;
  readonly demux: Demux;
  readonly quic: QuicEndpoint;
}

/** Which way datagrams go: by where they come from to an intermediate's signaling or relay, all others to the sessions; and out again. */
export class Switchboard {
  readonly #options: SwitchboardOptions;

  constructor(options: SwitchboardOptions) {
    this.#options = options;
  }

  receive(now: Millis, socket: SocketId, batch: readonly Incoming[]): void {
    const { presences, sense, demux } = this.#options;
    for (const { data: lent, from } of batch) {
      const data = owned(lent);
      if (sense.handleDatagram(socket, from, data)) continue;
      // A relay over TLS has the address of signaling over QUIC, on a socket of its own.
      const relay = presences.relayAt(socket, from);
      if (relay) {
        const relayed = relay.handleDatagram(now, data);
        if (relayed) demux.handleDatagram(now, relay.id, relayed.peer, owned(relayed.data));
        continue;
      }
      const signaling = presences.signalingAt(from);
      if (signaling) this.#receiveSignaling(now, signaling, data);
      else demux.handleDatagram(now, socket, from, data);
    }
  }

  /** What leaves from a relay is wrapped for it; null when the relay would not let it out, or is gone. */
  wrap(sent: Transmit): Transmit | null {
    if (sent.socket < FIRST_RELAY_ID) return sent;
    return this.#options.presences.relay(sent.socket)?.wrap(sent.to, sent.data) ?? null;
  }

  /** Packets from the signaling address never reach the peers' connections. */
  #receiveSignaling(now: Millis, { link }: Presence, data: Uint8Array): void {
    const route = this.#options.quic.route(data);
    if (route.kind === "connection" && link.owns(route.connection)) {
      link.handleDatagram(now, route.connection, data);
    } else if (route.kind === "drop" && route.reason === "unknown-connection") link.handleStray(now, data);
  }
}

/**
 * The bytes of a datagram may be lent. What carries most of them, QUIC's short packets and ChannelData around them (64..127), is decrypted at once or
 * dropped; of all else, such as a check that comes too early, something may be kept.
 */
const owned = (data: Uint8Array): Uint8Array => (((data[0] ?? 0) & 0xc0) === 0x40 ? data : data.slice());
