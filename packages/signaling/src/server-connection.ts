import {
  type Deadline,
  earliest,
  type Logger,
  type Millis,
  nullLogger,
  type Random,
  type SocketAddress,
} from "@adit/core";
import { isFromClient } from "./direction.ts";
import { SignalingError, type WireErrorCode } from "./errors.ts";
import { FrameReader } from "./frame.ts";
import { Liveness } from "./liveness.ts";
import {
  type ClientMessage,
  type IntermediateMessage,
  PROTOCOL_VERSION,
  type Role,
  type SignalingMessage,
  type TurnServer,
} from "./messages.ts";
import { Outbox } from "./outbox.ts";
import { signalingCodec } from "./signaling-codec.ts";

/** The first message must be here within this time, ms. */
const FIRST_MESSAGE_MS = 5_000;
/** A message that has begun must be whole within this time, ms: the longest, over a line of 20 kb/s. What a client holds here by dribbling ends. */
const MESSAGE_MS = 30_000;
/** Longer than the client's, so that as a rule the client pings, which also keeps its NAT's mapping, ms. */
const PING_IDLE_MS = 25_000;
/** A client that sends nothing for this long after a Ping is gone, ms. */
const PONG_TIMEOUT_MS = 10_000;
/** What a client may send: messages a second on average, and at once. A connector with hundreds of trickling sessions fits. */
const MESSAGES_PER_SECOND = 500;
const MESSAGE_BURST = 2_000;

export interface SignalingServerConnectionOptions {
  readonly now: Millis;
  /** The client's PeerId, from its certificate. */
  readonly peerId: string;
  /** Where its packets come from. */
  readonly observed: SocketAddress;
  /** What Welcome says besides: the intermediate's own PeerId, and TURN credentials for this client. */
  readonly welcome: { readonly peerId: string; readonly turn: TurnServer | null };
  readonly random: Random;
  readonly log?: Logger;
}

/** What is left for the rendezvous: a session's messages. */
export type SessionMessage = Exclude<ClientMessage, { readonly type: "hello" | "ping" | "pong" | "goodbye" }>;

export type SignalingServerEvent =
  | { readonly type: "hello"; readonly role: Role; readonly agent: string }
  | { readonly type: "message"; readonly message: SessionMessage }
  | { readonly type: "rtt"; readonly rttMs: Millis }
  /** Last of all: write what {@link SignalingServerConnection.pollBytes} still has, then finish the stream and close the connection. */
  | { readonly type: "close"; readonly code: CloseCode; readonly reason: string };

/** `goodbye`: the client said it, so its program ends. `ended`: we said it, or the connection is over otherwise; the client may come back. */
type CloseCode = WireErrorCode | "goodbye" | "ended";

type State =
  | { readonly at: "greeting"; readonly deadline: Millis }
  | { readonly at: "open"; readonly role: Role }
  | { readonly at: "closed" };

/**
 * The intermediate's side of one client's signaling connection: framing, version, direction, rate, liveness. Everything that is
 * wrong is answered with Error and a close, never with silence. Who may talk to whom is the rendezvous's business.
 */
export class SignalingServerConnection {
  readonly peerId: string;
  readonly #welcome: { readonly peerId: string };
  readonly #log: Logger;
  readonly #reader = new FrameReader();
  readonly #outbox = new Outbox();
  readonly #liveness: Liveness;
  readonly #events: SignalingServerEvent[] = [];
  #observed: SocketAddress;
  /** For the next Welcome. */
  #turn: TurnServer | null;
  #state: State;
  #budget: { messages: number; at: Millis };
  /** When the message began that is not whole yet. */
  #begunAt: Millis | null = null;

  constructor(options: SignalingServerConnectionOptions) {
    this.peerId = options.peerId;
    this.#observed = options.observed;
    this.#welcome = options.welcome;
    this.#turn = options.welcome.turn;
    this.#log = options.log ?? nullLogger;
    this.#liveness = new Liveness({ random: options.random, idleMs: PING_IDLE_MS, timeoutMs: PONG_TIMEOUT_MS });
    this.#state = { at: "greeting", deadline: options.now + FIRST_MESSAGE_MS };
    this.#budget = { messages: MESSAGE_BURST, at: options.now };
  }

  /** Null until Hello, and after the close. */
  get role(): Role | null {
    return this.#state.at === "open" ? this.#state.role : null;
  }

  get isClosed(): boolean {
    return this.#state.at === "closed";
  }

  get observed(): SocketAddress {
    return this.#observed;
  }

  /** Smoothed round trip, ms; null before the first Pong. */
  get rttMs(): Millis | null {
    return this.#liveness.rttMs;
  }

  /** What is kept in memory for this client alone: what it has not read, and a message of its own that is not whole. */
  get heldBytes(): number {
    return this.#outbox.bytes + this.#reader.allocatedBytes;
  }

  /** Bytes of the stream, in order, in pieces of any size. */
  handleData(now: Millis, data: Uint8Array): void {
    if (this.#state.at === "closed") return;
    this.#liveness.received(now);
    try {
      for (const payload of this.#reader.frames(data)) {
        this.#begunAt = null;
        this.#handlePayload(now, payload);
        if (this.isClosed) return;
      }
      if (this.#reader.bufferedBytes > 0) this.#begunAt ??= now;
    } catch (error) {
      if (!(error instanceof SignalingError)) throw error;
      this.refuse("bad-message", error.message);
    }
  }

  handleTimeout(now: Millis): void {
    if (this.#begunAt !== null && now >= this.#begunAt + MESSAGE_MS) {
      this.refuse("timeout", `a message was not whole within ${MESSAGE_MS} ms`);
    } else if (this.#state.at === "greeting") {
      if (now >= this.#state.deadline) this.refuse("timeout", `no Hello within ${FIRST_MESSAGE_MS} ms`);
    } else if (this.#state.at === "open") {
      const due = this.#liveness.handleTimeout(now);
      if (typeof due === "bigint") this.#write({ type: "ping", id: due });
      else if (due === "dead") this.refuse("timeout", `nothing came for ${PONG_TIMEOUT_MS} ms after a Ping`);
    }
  }

  pollTimeout(): Deadline | null {
    switch (this.#state.at) {
      case "greeting":
        return { at: this.#state.deadline, reason: "signaling-hello" };
      case "open": {
        const whole = this.#begunAt === null ? null : { at: this.#begunAt + MESSAGE_MS, reason: "signaling-message" };
        return earliest(this.#liveness.pollTimeout(), whole);
      }
      case "closed":
        return null;
    }
  }

  /**
   * False when the client has not said Hello or the connection is closed (or closes now, since the client does not read).
   * @throws SignalingError `bad-message` or `frame-too-large` for a message that the client would refuse.
   */
  send(message: IntermediateMessage): boolean {
    return this.#state.at === "open" && this.#write(message);
  }

  /** The client's packets come from another address now: tells it, if it is news. */
  setObserved(observed: SocketAddress): void {
    if (observed.equals(this.#observed)) return;
    this.#observed = observed;
    this.send({ type: "observed-address", observed });
  }

  /** New TURN credentials: Welcome once more. */
  renewTurn(turn: TurnServer | null): void {
    this.#turn = turn;
    if (this.#state.at === "open") this.#sendWelcome();
  }

  /** Closes with Goodbye: `replaced`, `shutdown`. */
  goodbye(reason: string): void {
    this.#close("ended", reason, { type: "goodbye", reason });
  }

  /** Closes with Error. */
  refuse(code: WireErrorCode, message: string): void {
    this.#close(code, message, { type: "error", code, message, sessionId: null, requestId: null });
  }

  /** The connection is gone by itself. */
  handleDisconnected(reason: string): void {
    this.#close("ended", reason, null);
  }

  /** The next frame to write to the stream. Take only what the stream takes. */
  pollBytes(): Uint8Array | null {
    return this.#outbox.poll();
  }

  pollEvent(): SignalingServerEvent | null {
    return this.#events.shift() ?? null;
  }

  #handlePayload(now: Millis, payload: Uint8Array): void {
    if (!this.#withinRate(now)) return this.refuse("too-many", `more than ${MESSAGES_PER_SECOND} messages a second`);
    if (this.#state.at === "greeting") {
      const version = helloVersion(payload);
      if (version !== null && version !== PROTOCOL_VERSION) {
        this.refuse("unsupported-version", `version ${PROTOCOL_VERSION} is spoken here, not ${version}`);
        return;
      }
    }
    this.#handleMessage(now, signalingCodec.decode(payload));
  }

  #handleMessage(now: Millis, message: SignalingMessage): void {
    if (this.#state.at === "greeting") {
      if (message.type !== "hello") return this.refuse("unexpected-message", `"${message.type}" came before Hello`);
      this.#state = { at: "open", role: message.role };
      this.#events.push({ type: "hello", role: message.role, agent: message.agent });
      this.#sendWelcome();
      this.#ping(now);
      return;
    }
    if (this.#state.at !== "open") return;
    if (!isFromClient(this.#state.role, message) || message.type === "hello") {
      this.refuse("unexpected-message", `a ${this.#state.role} does not send "${message.type}" here`);
      return;
    }
    switch (message.type) {
      case "ping":
        this.#write({ type: "pong", id: message.id });
        return;
      case "pong": {
        const rttMs = this.#liveness.pong(now, message.id);
        if (rttMs !== null) this.#events.push({ type: "rtt", rttMs });
        return;
      }
      case "goodbye":
        this.#close("goodbye", message.reason, null);
        return;
      case "error":
        if (message.sessionId !== null) this.#events.push({ type: "message", message });
        else this.#close("ended", `the client said ${message.code}: ${message.message}`, null);
        return;
      default:
        this.#events.push({ type: "message", message });
    }
  }

  /** The credentials are not kept: each client has its own. */
  #sendWelcome(): void {
    this.#write({
      type: "welcome",
      version: PROTOCOL_VERSION,
      peerId: this.#welcome.peerId,
      observed: this.#observed,
      turn: this.#turn,
    });
    this.#turn = null;
  }

  #ping(now: Millis): void {
    const id = this.#liveness.ask(now);
    if (id !== null) this.#write({ type: "ping", id });
  }

  #write(message: SignalingMessage): boolean {
    if (this.isClosed) return false;
    const taken = this.#outbox.push(signalingCodec.encodeFrame(message));
    if (!taken) this.#close("too-many", "the client does not read what is sent", null);
    return taken;
  }

  #close(code: CloseCode, reason: string, last: IntermediateMessage | null): void {
    if (this.#state.at === "closed") return;
    if (last) this.#outbox.push(signalingCodec.encodeFrame(last));
    this.#state = { at: "closed" };
    this.#liveness.stop();
    this.#events.push({ type: "close", code, reason });
    this.#log.debug("signaling-close", { peerId: this.peerId, code, reason });
  }

  #withinRate(now: Millis): boolean {
    const earned = Math.max(0, now - this.#budget.at) * (MESSAGES_PER_SECOND / 1000);
    this.#budget = { messages: Math.min(MESSAGE_BURST, this.#budget.messages + earned) - 1, at: now };
    return this.#budget.messages >= 0;
  }
}

/**
 * The version in a Hello of any version, null for another message: its tag and its first field never move (docs/protocol.md),
 * so that a Hello from the future is refused with the right code.
 */
function helloVersion(payload: Uint8Array): number | null {
  if (payload.length < 6) return null;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  return view.getUint32(0, true) === 0 ? view.getUint16(4, true) : null;
}
