import type { LogFields, Millis, SocketAddress } from "@adit/core";
import type { PunchingResult } from "@adit/signaling";
import type { SessionPath } from "../status.ts";
import { round } from "./pair-words.ts";
import type { SessionHost, SessionPeer } from "./session-host.ts";

/** What the log and the intermediate are told of one session. */
export class SessionRecord {
  readonly #host: SessionHost;
  readonly #sessionId: bigint;
  readonly #id: string;
  #reported: PunchingResult["outcome"] | null = null;

  constructor(host: SessionHost, sessionId: bigint, id: string) {
    this.#host = host;
    this.#sessionId = sessionId;
    this.#id = id;
  }

  /** Tells the intermediate how it went, once per outcome; nothing depends on it. */
  report(outcome: PunchingResult["outcome"], detail: string): void {
    if (this.#reported === outcome) return;
    this.#reported = outcome;
    this.#host.signal({ type: "punching-result", sessionId: this.#sessionId, outcome, detail });
  }

  start(peer: SessionPeer, path: SessionPath, remote: SocketAddress | null, reason: string): void {
    this.#host.log.info("session-start", { ...this.#identity(peer), path, remote, reason });
  }

  change(peer: SessionPeer, from: SessionPath, to: SessionPath, reason: string, gapMs: Millis | null): void {
    this.#host.log.info("path-changed", { ...this.#identity(peer), from, to, reason, gapMs: round(gapMs) });
    if (to === "direct" || to === "relay") this.report(to, reason);
  }

  end(
    peer: SessionPeer,
    code: string,
    reason: string,
    bytes: { readonly sent: number; readonly received: number },
  ): void {
    const { sent: sentBytes, received: receivedBytes } = bytes;
    this.#host.log.info("session-end", { ...this.#identity(peer), code, reason, sentBytes, receivedBytes });
  }

  /** Which session a log line is about. */
  #identity({ id, name }: SessionPeer): LogFields {
    return { session: this.#id, peerId: id, ...(name === null ? {} : { name }) };
  }
}
