import {
  type Context,
  ExitError,
  type IntermediateAddress,
  intermediateOptions,
  type OpenState,
  type Target,
  Trace,
} from "@adit/program";
import type { Congestion } from "@adit/quic";
import type { Endpoint, EndpointOptions, PeerSession } from "@adit/transport";
import { type Destination, destinationOf } from "./destination.ts";
import { sessionFailure, targetText } from "./failures.ts";

/** The options that every command with a session takes. */
export interface LinkValues {
  /** In the order of preference; none where `to` is a ticket, which names its own. */
  readonly intermediate: readonly IntermediateAddress[];
  readonly to: Target;
  readonly bind: { readonly ip: string; readonly port: number } | undefined;
  readonly icePolicy: "all" | "relay";
  readonly congestionControl: Congestion;
  readonly portMapping: "on" | "off";
  readonly wait: number;
  /** The file for a trace of the sessions. */
  readonly trace: string | undefined;
}

export type StartEndpoint = (options: EndpointOptions) => Promise<Endpoint>;

/** The way to one target over one endpoint. */
export class Link {
  readonly endpoint: Endpoint;
  readonly #destination: Destination;
  readonly #waitMs: number;
  readonly #state: OpenState;
  readonly #trace: Trace | null;
  #closing: Promise<void> | null = null;

  private constructor(
    endpoint: Endpoint,
    destination: Destination,
    waitMs: number,
    state: OpenState,
    trace: Trace | null,
  ) {
    this.endpoint = endpoint;
    this.#destination = destination;
    this.#waitMs = waitMs;
    this.#state = state;
    this.#trace = trace;
  }

  static async open(start: StartEndpoint, values: LinkValues, state: OpenState, context: Context): Promise<Link> {
    const { bind, icePolicy, congestionControl, portMapping } = values;
    const destination = destinationOf(values);
    const trace = await Trace.open(values.trace, context.log, { program: "adit-agent" });
    const endpoint = await start({
      identity: state.identity,
      role: "agent",
      ...intermediateOptions(state.pins, destination.intermediates),
      ...(bind && { bind }),
      icePolicy,
      congestion: congestionControl,
      portMapping: portMapping === "on",
      log: trace?.tap(context.log) ?? context.log,
    });
    trace?.sample((limit) => endpoint.samples(limit));
    const link = new Link(endpoint, destination, values.wait, state, trace);
    if (context.signal.aborted) await link.close();
    else context.signal.addEventListener("abort", () => void link.close(), { once: true });
    return link;
  }

  get targetText(): string {
    return targetText(this.#destination.target);
  }

  /**
   * One try for a session that may use `service`. The PeerId that a name leads to first is pinned.
   * @throws SessionError, ExitError
   */
  async connect(service: string): Promise<PeerSession> {
    const { target, ticket } = this.#destination;
    const { pins } = this.#state;
    const expectedPeer = target.kind === "peer" ? target.peerId : pins.get("peers", target.name);
    const session = await this.endpoint.connect({
      target: targetText(target),
      ...(expectedPeer !== null && { expectedPeer }),
      ...(ticket !== null && { ticket }),
      service,
      waitMs: this.#waitMs,
    });
    const changed = target.kind === "name" ? pins.check("peers", target.name, session.peer.id) : null;
    if (changed === null) return session;
    session.close("the PeerId is not the pinned one");
    throw new ExitError("refused", changed);
  }

  /** Ends the session and the endpoint; an attempt to connect ends too. */
  close(): Promise<void> {
    this.#closing ??= this.endpoint.close("the agent is ending").then(() => this.#trace?.close());
    return this.#closing;
  }

  /** What a user is told when there is no session. */
  failure(error: unknown): unknown {
    const { target, intermediates } = this.#destination;
    const { identity, pins } = this.#state;
    return sessionFailure(error, {
      target,
      peerId: identity.peerId,
      waitMs: this.#waitMs,
      intermediate: intermediates.map(({ key }) => key).join(", "),
      pins,
    });
  }
}
