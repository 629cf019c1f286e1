/**
 * Whether the STUN listeners answer: they are asked over this host's loopback as a client would ask, by sockets that share nothing with theirs.
 * All UDP sockets of the intermediate, relayed addresses too, are read by the same loop, so that this finds out when it is deaf.
 */
import { createSocket, type Socket } from "node:dgram";
import { connect } from "node:net";
import { type Clock, classifyIp, type Millis, monotonicClock, SocketAddress, systemRandom } from "@adit/core";
import { decodeStun, STUN_METHOD, StunBuilder, transactionKey } from "@adit/ice";

/** How often each is asked. */
const ASK_MS = 5_000;

/** An answer may be lost where a socket's buffer is full, as under a flood: three of them are not. */
export const SILENT_MS = 3 * ASK_MS;

export interface OwnListener {
  readonly transport: "udp" | "tcp";
  /** As it is bound. */
  readonly address: SocketAddress;
}

/** Sends a request to a listener of ours, and hands on what comes back. */
export interface Asker {
  ask(listener: OwnListener, request: Uint8Array, onAnswer: (data: Uint8Array) => void): void;
  close(): void;
}

interface Asked extends OwnListener {
  /** Of the newest request. */
  transaction: string;
  answeredAt: Millis;
}

export class SelfCheck {
  readonly #clock: Clock;
  readonly #asker: Asker;
  readonly #asked: readonly Asked[];
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(listeners: readonly OwnListener[], clock: Clock = monotonicClock, asker: Asker = new SystemAsker()) {
    this.#clock = clock;
    this.#asker = asker;
    // Before the first answer could come they have the benefit of the doubt.
    this.#asked = listeners.map((listener) => ({ ...listener, transaction: "", answeredAt: clock.now() }));
    this.#timer = setInterval(() => this.ask(), ASK_MS);
    this.#timer.unref();
    this.ask();
  }

  /** "ok", or which listeners do not answer. */
  check(): string {
    const now = this.#clock.now();
    const silent = this.#asked.filter(({ answeredAt }) => now - answeredAt > SILENT_MS);
    if (silent.length === 0) return "ok";
    const which = silent.map(({ transport, address }) => `STUN over ${transport.toUpperCase()} at ${address.key}`);
    return `not answered for ${SILENT_MS / 1000} s when asked from this host: ${which.join(", ")}`;
  }

  ask(): void {
    for (const asked of this.#asked) {
      const id = systemRandom.bytes(12);
      asked.transaction = transactionKey(id);
      this.#asker.ask(asked, new StunBuilder("request", STUN_METHOD.BINDING, id).build(), (data) => {
        const message = decodeStun(data);
        if (message?.class !== "success" || transactionKey(message.transactionId) !== asked.transaction) return;
        asked.answeredAt = this.#clock.now();
      });
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.#asker.close();
  }
}

/** Asks by sockets of the runtime's. */
class SystemAsker implements Asker {
  readonly #udp = new Map<OwnListener, Socket>();
  #closed = false;

  ask(listener: OwnListener, request: Uint8Array, onAnswer: (data: Uint8Array) => void): void {
    if (this.#closed) return;
    const { transport, address } = listener;
    const to = reachable(address);
    if (transport === "tcp") return askTcp(to, request, onAnswer);
    const socket = this.#udp.get(listener) ?? createSocket(to.family === 4 ? "udp4" : "udp6");
    this.#udp.set(listener, socket);
    socket.removeAllListeners();
    socket.on("message", onAnswer);
    socket.on("error", () => {}); // no answer comes, which is what is looked at
    socket.send(request, to.port, to.ip, () => {
      if (!this.#closed) socket.unref();
    });
  }

  close(): void {
    this.#closed = true;
    for (const socket of this.#udp.values()) socket.close();
  }
}

/** One connection for each question: who has no descriptor left accepts none. */
function askTcp(to: SocketAddress, request: Uint8Array, onAnswer: (data: Uint8Array) => void): void {
  const socket = connect({ host: to.ip, port: to.port });
  socket.unref();
  socket.setTimeout(ASK_MS, () => socket.destroy());
  socket.on("error", () => socket.destroy());
  socket.on("connect", () => socket.write(request));
  socket.on("data", (data) => {
    onAnswer(data);
    socket.destroy();
  });
}

function reachable(address: SocketAddress): SocketAddress {
  if (classifyIp(address.ip) !== "unspecified") return address;
  return SocketAddress.of(address.family === 4 ? "127.0.0.1" : "::1", address.port);
}
