import {
  Backoff,
  type Deadline,
  earliest,
  type Logger,
  type Millis,
  nullLogger,
  type Random,
  randomU64,
  type SocketAddress,
} from "@adit/core";
import { isForClient } from "./direction.ts";
import { SignalingError, type WireErrorCode } from "./errors.ts";
import { FrameReader } from "./frame.ts";
import { Liveness } from "./liveness.ts";
import {
  type ClientMessage,
  type ErrorMessage,
  type IntermediateMessage,
  PROTOCOL_VERSION,
  type Role,
  type TurnServer,
  type Welcome,
} from "./messages.ts";
import { Outbox } from "./outbox.ts";
import { signalingCodec } from "./signaling-codec.ts";

/**
 * After this long without a byte from the intermediate the client pings, and how long it waits for an answer, ms; it also keeps the
 * NAT's mapping (RFC 4787 REQ-5). Whoever needs the intermediate, or doubts it, asks by {@link SignalingClient.probe} and knows within a second:
 * these are for those who wait. An agent has somebody before it who looks at its status; of connectors there are many that wait for hours.
 */
const PING = {
  agent: { idleMs: 10_000, timeoutMs: 2_500 },
  connector: { idleMs: 15_000, timeoutMs: 5_000 },
} as const;
/** How long a {@link SignalingClient.probe} waits for any byte, ms. */
const PROBE_TIMEOUT_MS = 1_000;
/** Delays before reconnecting, ms. A connection that stood this long starts the backoff anew. */
const RECONNECT = { initialMs: 250, maxMs: 5_000 };
const STABLE_MS = 5_000;
/** Delays before asking again for a name that another key holds, ms. */
const REGISTER_RETRY = { initialMs: 1_000, maxMs: 30_000 };
/** A Register that was not answered is sent this often in all; then the connection is given up. */
const REGISTER_TRIES = 2;

/** Refusals that trying again does not change. */
const PERMANENT: ReadonlySet<string> = new Set<WireErrorCode>(["replaced", "not-allowed", "unsupported-version"]);

export interface SignalingClientOptions {
  readonly role: Role;
  /** A connector's name: registered on every connection. */
  readonly name?: string;
  /** What Hello says this program is, such as `adit/0.1.0`. */
  readonly agent?: string;
  readonly random: Random;
  readonly log?: Logger;
  /** For a connection attempt, for Welcome and for each answer, ms. 5000 by default. */
  readonly timeoutMs?: Millis;
}

/** What the driver is asked to do. Before it disconnects it writes what {@link SignalingClient.pollBytes} still has. */
export type SignalingCommand = { readonly type: "connect" } | { readonly type: "disconnect"; readonly reason: string };

export type SignalingClientEvent =
  | {
      readonly type: "up";
      readonly observed: SocketAddress;
      readonly turn: TurnServer | null;
      readonly intermediateId: string;
    }
  | { readonly type: "registered" }
  /** The name is another key's, or the intermediate failed; asked again in `retryInMs`, the connection stays. */
  | { readonly type: "register-refused"; readonly code: string; readonly message: string; readonly retryInMs: Millis }
  | { readonly type: "turn"; readonly turn: TurnServer | null }
  | { readonly type: "observed"; readonly observed: SocketAddress }
  | { readonly type: "rtt"; readonly rttMs: Millis }
  | { readonly type: "message"; readonly message: IntermediateMessage }
  | { readonly type: "down"; readonly reason: string; readonly retryInMs: Millis }
  /** For good: `replaced`, `not-allowed`, `unsupported-version`. */
  | { readonly type: "stopped"; readonly code: string; readonly message: string };

type Registration =
  | { readonly at: "none" }
  | { readonly at: "asked"; readonly requestId: bigint; readonly tries: number; readonly deadline: Millis }
  | { readonly at: "refused"; readonly retryAt: Millis }
  | { readonly at: "done" };

type State =
  | { readonly at: "waiting"; readonly until: Millis }
  | { readonly at: "connecting"; readonly deadline: Millis }
  | { readonly at: "greeting"; readonly deadline: Millis }
  | { readonly at: "up"; readonly since: Millis; registration: Registration }
  | { readonly at: "stopped" };

/**
 * A peer's side of the signaling connection, for as long as the program runs: connects, says Hello, registers, pings, and
 * after a failure does it all again. Knows no sockets: the driver opens QUIC when told, hands in what arrives and writes what comes out.
 *
 * Begins at the first {@link handleTimeout} (for which {@link pollTimeout} asks at once). After each call, drain bytes, commands, events.
 */
export class SignalingClient {
  readonly #options: SignalingClientOptions;
  readonly #timeoutMs: Millis;
  readonly #log: Logger;
  readonly #outbox = new Outbox();
  readonly #liveness: Liveness;
  readonly #reconnect = new Backoff(RECONNECT);
  readonly #registerRetry = new Backoff(REGISTER_RETRY);
  readonly #commands: SignalingCommand[] = [];
  readonly #events: SignalingClientEvent[] = [];
  #reader = new FrameReader();
  #state: State = { at: "waiting", until: 0 };

  constructor(options: SignalingClientOptions) {
    this.#options = options;
    this.#timeoutMs = options.timeoutMs ?? 5_000;
    this.#log = options.log ?? nullLogger;
    this.#liveness = new Liveness({ random: options.random, ...PING[options.role] });
  }

  /** Whether Welcome has come and {@link send} works. */
  get isUp(): boolean {
    return this.#state.at === "up";
  }

  /** Whether it has given up for good. */
  get isStopped(): boolean {
    return this.#state.at === "stopped";
  }

  /** Whether the intermediate has confirmed the name on this connection. */
  get isRegistered(): boolean {
    return this.#state.at === "up" && this.#state.registration.at === "done";
  }

  /** Smoothed round trip to the intermediate, ms; null before the first measurement. */
  get rttMs(): Millis | null {
    return this.#liveness.rttMs;
  }

  /**
   * A connection is established, and bytes can be written; `rttMs`: the round trip of its handshake, where that is known. When there is one already
   * it takes its place, and all begins anew with Hello: what the former one still brings is not to be handed in.
   */
  handleConnected(now: Millis, rttMs: Millis | null = null): void {
    if (this.#state.at === "waiting" || this.#state.at === "stopped") return;
    this.#liveness.stop();
    if (rttMs !== null) this.#liveness.measured(rttMs);
    this.#outbox.clear();
    this.#reader = new FrameReader();
    this.#state = { at: "greeting", deadline: now + this.#timeoutMs };
    const agent = this.#options.agent ?? "adit/0.1.0";
    this.#write(now, { type: "hello", version: PROTOCOL_VERSION, agent, role: this.#options.role });
  }

  /** The attempt failed, or the connection is gone. Hand in what it had delivered before. */
  handleDisconnected(now: Millis, reason: string): void {
    if (this.#state.at === "waiting" || this.#state.at === "stopped") return;
    this.#down(now, reason);
  }

  /** Something authentic came that is no bytes of the stream: where packets get lost those may wait for one another, and the intermediate lives. */
  handleHeard(now: Millis): void {
    this.#liveness.received(now);
  }

  /** Bytes of the stream, in order, in pieces of any size. */
  handleData(now: Millis, data: Uint8Array): void {
    if (this.#state.at !== "greeting" && this.#state.at !== "up") return;
    this.#liveness.received(now);
    try {
      for (const payload of this.#reader.frames(data)) {
        this.#handleMessage(now, signalingCodec.decode(payload) as IntermediateMessage);
        if (!this.#isOpen()) return;
      }
    } catch (error) {
      if (!(error instanceof SignalingError)) throw error;
      this.#giveUp(now, "bad-message", error.message);
    }
  }

  handleTimeout(now: Millis): void {
    const state = this.#state;
    switch (state.at) {
      case "waiting":
        if (now < state.until) return;
        this.#state = { at: "connecting", deadline: now + this.#timeoutMs };
        this.#commands.push({ type: "connect" });
        return;
      case "connecting":
        if (now >= state.deadline) this.#disconnect(now, `no connection within ${this.#timeoutMs} ms`);
        return;
      case "greeting":
        if (now >= state.deadline) this.#disconnect(now, `no Welcome within ${this.#timeoutMs} ms`);
        return;
      case "up":
        this.#registrationTimeout(now, state.registration);
        if (this.#isOpen()) this.#livenessTimeout(now);
        return;
      case "stopped":
        return;
    }
  }

  pollTimeout(): Deadline | null {
    const state = this.#state;
    switch (state.at) {
      case "waiting":
        return { at: state.until, reason: "signaling-connect" };
      case "connecting":
      case "greeting":
        return { at: state.deadline, reason: `signaling-${state.at}` };
      case "up":
        return earliest(registrationDeadline(state.registration), this.#liveness.pollTimeout());
      case "stopped":
        return null;
    }
  }

  /**
   * Sends a message of a session. False when the connection is not up: nothing is kept for a later one.
   * @throws SignalingError `bad-message` or `frame-too-large` for a message that the other side would refuse.
   */
  send(now: Millis, message: ClientMessage): boolean {
    return this.#state.at === "up" && this.#write(now, message);
  }

  /** Asks whether the intermediate is still there, and gives the connection up if nothing comes within 1 s, or `timeoutMs`; on slow networks later. */
  probe(now: Millis, timeoutMs: Millis = PROBE_TIMEOUT_MS): void {
    if (this.#state.at === "up") this.#ping(now, timeoutMs);
  }

  /** Ends it: Goodbye, then a disconnect command; no reconnecting, no further events. */
  stop(now: Millis, reason = "shutdown"): void {
    if (this.#state.at === "stopped") return;
    const connected = this.#isOpen();
    if (connected) this.#write(now, { type: "goodbye", reason });
    if (connected || this.#state.at === "connecting") this.#commands.push({ type: "disconnect", reason });
    this.#enterStopped();
  }

  /** The next piece to write to the stream, one or more frames. Take only what the stream takes. */
  pollBytes(): Uint8Array | null {
    return this.#outbox.poll();
  }

  pollCommand(): SignalingCommand | null {
    return this.#commands.shift() ?? null;
  }

  pollEvent(): SignalingClientEvent | null {
    return this.#events.shift() ?? null;
  }

  #isOpen(): boolean {
    return this.#state.at === "greeting" || this.#state.at === "up";
  }

  #handleMessage(now: Millis, message: IntermediateMessage): void {
    if (!isForClient(this.#options.role, message)) {
      this.#giveUp(now, "unexpected-message", `the intermediate sent "${(message as { type: string }).type}"`);
      return;
    }
    switch (message.type) {
      case "welcome":
        return this.#handleWelcome(now, message);
      case "error":
        return this.#handleError(now, message);
      case "goodbye":
        if (PERMANENT.has(message.reason)) this.#stopped(message.reason, farewell(message.reason));
        else this.#disconnect(now, `the intermediate said goodbye: ${message.reason}`);
        return;
    }
    if (this.#state.at !== "up") {
      this.#giveUp(now, "unexpected-message", `"${message.type}" came before Welcome`);
      return;
    }
    switch (message.type) {
      case "ping":
        this.#write(now, { type: "pong", id: message.id });
        return;
      case "pong": {
        const rttMs = this.#liveness.pong(now, message.id);
        if (rttMs !== null) this.#events.push({ type: "rtt", rttMs });
        return;
      }
      case "registered":
        if (this.#state.registration.at !== "asked" || this.#state.registration.requestId !== message.requestId) return;
        this.#state.registration = { at: "done" };
        this.#registerRetry.reset();
        this.#events.push({ type: "registered" });
        return;
      case "observed-address":
        this.#events.push({ type: "observed", observed: message.observed });
        return;
      default:
        this.#events.push({ type: "message", message });
    }
  }

  #handleWelcome(now: Millis, { version, peerId, observed, turn }: Welcome): void {
    if (version !== PROTOCOL_VERSION) {
      this.#stopped(
        "unsupported-version",
        `the intermediate answered with version ${version}, not ${PROTOCOL_VERSION}`,
      );
      return;
    }
    if (this.#state.at === "up") {
      this.#events.push({ type: "turn", turn });
      return;
    }
    this.#state = { at: "up", since: now, registration: { at: "none" } };
    this.#events.push({ type: "up", observed, turn, intermediateId: peerId });
    if (this.#options.name !== undefined) this.#register(now, randomU64(this.#options.random), 1);
    this.#ping(now);
  }

  #handleError(now: Millis, message: ErrorMessage): void {
    if (message.sessionId !== null) {
      if (this.#state.at === "up") this.#events.push({ type: "message", message });
      return;
    }
    if (PERMANENT.has(message.code)) return this.#stopped(message.code, message.message);
    if (message.requestId === null) return this.#disconnect(now, `${message.code}: ${message.message}`);
    const registration = this.#state.at === "up" ? this.#state.registration : null;
    if (this.#state.at !== "up" || registration?.at !== "asked" || registration.requestId !== message.requestId) return;
    const retryInMs = this.#registerRetry.next(this.#options.random.float());
    this.#state.registration = { at: "refused", retryAt: now + retryInMs };
    this.#events.push({ type: "register-refused", code: message.code, message: message.message, retryInMs });
  }

  #registrationTimeout(now: Millis, registration: Registration): void {
    if (registration.at === "refused" && now >= registration.retryAt) {
      this.#register(now, randomU64(this.#options.random), 1);
    } else if (registration.at === "asked" && now >= registration.deadline) {
      if (registration.tries < REGISTER_TRIES) this.#register(now, registration.requestId, registration.tries + 1);
      else
        this.#giveUp(now, "timeout", `Register was not answered within ${this.#timeoutMs} ms, ${REGISTER_TRIES} times`);
    }
  }

  #register(now: Millis, requestId: bigint, tries: number): void {
    if (this.#state.at !== "up" || this.#options.name === undefined) return;
    this.#state.registration = { at: "asked", requestId, tries, deadline: now + this.#timeoutMs };
    this.#write(now, { type: "register", requestId, name: this.#options.name });
  }

  #livenessTimeout(now: Millis): void {
    const due = this.#liveness.handleTimeout(now);
    if (typeof due === "bigint") this.#write(now, { type: "ping", id: due });
    else if (due === "dead") this.#disconnect(now, "the intermediate does not answer");
  }

  #ping(now: Millis, timeoutMs: Millis = PING[this.#options.role].timeoutMs): void {
    const id = this.#liveness.ask(now, timeoutMs);
    if (id !== null) this.#write(now, { type: "ping", id });
  }

  #write(now: Millis, message: ClientMessage): boolean {
    if (!this.#isOpen()) return false;
    const taken = this.#outbox.push(signalingCodec.encodeFrame(message));
    if (!taken) this.#disconnect(now, "the intermediate does not read what is sent");
    return taken;
  }

  /** Tells the intermediate why, and disconnects. */
  #giveUp(now: Millis, code: WireErrorCode, message: string): void {
    this.#outbox.push(signalingCodec.encodeFrame({ type: "error", code, message, sessionId: null, requestId: null }));
    this.#disconnect(now, `${code}: ${message}`);
  }

  #disconnect(now: Millis, reason: string): void {
    this.#commands.push({ type: "disconnect", reason });
    this.#down(now, reason);
  }

  #down(now: Millis, reason: string): void {
    if (this.#state.at === "up" && now - this.#state.since >= STABLE_MS) this.#reconnect.reset();
    const retryInMs = this.#reconnect.next(this.#options.random.float());
    this.#liveness.stop();
    this.#state = { at: "waiting", until: now + retryInMs };
    this.#events.push({ type: "down", reason, retryInMs });
    this.#log.debug("signaling-down", { reason, retryInMs });
  }

  #stopped(code: string, message: string): void {
    this.#commands.push({ type: "disconnect", reason: code });
    this.#events.push({ type: "stopped", code, message });
    this.#enterStopped();
  }

  #enterStopped(): void {
    this.#liveness.stop();
    this.#state = { at: "stopped" };
  }
}

function registrationDeadline(registration: Registration): Deadline | null {
  switch (registration.at) {
    case "asked":
      return { at: registration.deadline, reason: "register-timeout" };
    case "refused":
      return { at: registration.retryAt, reason: "register-retry" };
    default:
      return null;
  }
}

/** What a Goodbye for good means to who reads it. */
function farewell(reason: string): string {
  if (reason !== "replaced") return `the intermediate said: ${reason}`;
  return (
    "another program has registered with this key, and the newest one counts: each program wants a state directory, and so a key, of its own " +
    "(--state-dir)"
  );
}
