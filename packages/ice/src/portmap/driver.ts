import type { Socket } from "node:dgram";
import { type Clock, type Logger, monotonicClock, nullLogger, type Random, systemRandom } from "@adit/core";
import { defaultGateway } from "./gateway.ts";
import { addressToward, openAnnouncements, openQuestions } from "./helper-sockets.ts";
import { fetchFromRouter } from "./http.ts";
import { type PortMapEvent, PortMapper } from "./port-mapper.ts";
import type { ClientStatus, PortLease, PortMapOutput, PortMapProtocol } from "./types.ts";

/** What {@link PortMapping} takes. */
export interface PortMappingOptions {
  /** The UDP port that is to be reached from outside. */
  readonly internalPort: number;
  /** The address that the port is bound to, where it is one: no mapping is made unless the way to the router leaves from it. */
  readonly boundIp?: string;
  /** All three unless given. */
  readonly protocols?: readonly PortMapProtocol[];
  /** False finds out only what the router speaks. */
  readonly wantsLease?: boolean;
  /** What the router's list of UPnP mappings shows; `adit` unless given. */
  readonly description?: string;
  /** The default gateway unless given. */
  readonly gateway?: string;
  /** Whenever {@link PortMapping.report} has changed. */
  readonly onChange?: (report: PortMapReport) => void;
  /** The router has started anew: whatever else it translated is forgotten too. */
  readonly onRestart?: () => void;
  /** A monotonic clock, ms; the machine's unless given. */
  readonly clock?: Clock;
  /** Of PCP's nonce and of jitter; the system's unless given. */
  readonly random?: Random;
  /** Silent unless given. */
  readonly log?: Logger;
}

/** What is known of the router. */
export interface PortMapReport {
  /** Null: none was found. */
  readonly gateway: string | null;
  /** The mapping that stands; null while there is none. */
  readonly lease: PortLease | null;
  /** What became of each protocol, the preferred one first. */
  readonly protocols: readonly { readonly protocol: PortMapProtocol; readonly status: ClientStatus }[];
  /** Nothing is under way. */
  readonly isSettled: boolean;
}

/** How long {@link PortMapping.close} waits for the router to confirm. */
const CLOSE_MS = 1_000;
/** More than this at once is not asked of a router. */
const MAX_HTTP_AT_ONCE = 2;

interface Running {
  readonly mapper: PortMapper;
  readonly questions: Socket;
  announcements: Socket | null;
}

/** Keeps a UDP port mapped at the router, from its making to {@link close}. It keeps no program alive. */
export class PortMapping {
  readonly #options: PortMappingOptions;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #log: Logger;
  readonly #abort = new AbortController();
  #gateway: string | null = null;
  #running: Running | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #httpUnderWay = 0;
  #said = "";
  /** Looking for the gateway and opening sockets, one after another. */
  #starting: Promise<void>;
  #isStarted = false;
  #onGone: (() => void) | null = null;

  constructor(options: PortMappingOptions) {
    this.#options = options;
    this.#clock = options.clock ?? monotonicClock;
    this.#random = options.random ?? systemRandom;
    this.#log = options.log ?? nullLogger;
    this.#starting = this.#tryStart();
  }

  /** How it stands now. */
  get report(): PortMapReport {
    const mapper = this.#running?.mapper;
    return {
      gateway: this.#gateway,
      lease: mapper?.lease ?? null,
      protocols: mapper?.protocols ?? [],
      isSettled: this.#isStarted && (mapper?.isSettled ?? true),
    };
  }

  /** The network may have changed: looks for the router anew, and asks whether the mapping still stands. */
  refresh(): void {
    this.#starting = this.#starting.then(() => this.#tryStart());
  }

  /** Gives the mapping back and closes all. Takes a second at most; the lease ends by itself where nothing was heard. */
  async close(): Promise<void> {
    if (this.#abort.signal.aborted) return;
    const deadline = setTimeout(() => this.#end(), CLOSE_MS);
    const gone = new Promise<void>((resolve) => {
      this.#onGone = resolve;
    });
    this.#running?.mapper.close(this.#clock.now());
    this.#turn();
    await gone;
    clearTimeout(deadline);
  }

  /** A system without sockets to spare, or one that does it all otherwise: there is no mapping then, and that is all. */
  async #tryStart(): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      this.#log.debug("port-mapping-failed", { message: error instanceof Error ? error.message : String(error) });
    }
  }

  async #start(): Promise<void> {
    const { gateway: given, boundIp } = this.#options;
    const gateway = given ?? (await defaultGateway());
    const localIp = gateway && (await addressToward(gateway));
    if (this.#isClosing) return;
    this.#gateway = gateway;
    const reachable = localIp && (boundIp === undefined || boundIp === localIp) ? localIp : null;
    const { mapper } = this.#running ?? {};
    if (mapper && mapper.gateway === gateway && mapper.localIp === reachable) mapper.refresh(this.#clock.now());
    else {
      // Another network: what was mapped in the old one is out of reach, and ends by itself.
      this.#closeSockets();
      if (gateway && reachable) await this.#open(gateway, reachable);
    }
    this.#isStarted = true;
    this.#turn();
  }

  async #open(gateway: string, localIp: string): Promise<void> {
    const { internalPort, protocols, wantsLease, description } = this.#options;
    const holder: { mapper: PortMapper | null } = { mapper: null };
    const questions = await openQuestions(
      localIp,
      (from, data) => {
        holder.mapper?.handleDatagram(this.#clock.now(), from, data);
        this.#turn();
      },
      this.#log,
    );
    if (!questions) return;
    if (this.#isClosing) return void questions.close();
    const mapper = new PortMapper(this.#clock.now(), {
      gateway,
      localIp,
      internalPort,
      random: this.#random,
      ...(protocols && { protocols }),
      ...(wantsLease === undefined ? {} : { wantsLease }),
      ...(description === undefined ? {} : { description }),
    });
    holder.mapper = mapper;
    this.#running = { mapper, questions, announcements: null };
  }

  /** After every change: does what the mapper wants, says what is new, arms the one timer. */
  #turn(): void {
    if (this.#abort.signal.aborted) return;
    const running = this.#running;
    if (running) {
      for (let out = running.mapper.pollOutput(); out; out = running.mapper.pollOutput()) this.#do(running, out);
      for (let event = running.mapper.pollEvent(); event; event = running.mapper.pollEvent()) {
        this.#handleEvent(running, event);
      }
    }
    if (this.#onGone) {
      if (!running || running.mapper.isGone) return this.#end();
    } else this.#tell();
    this.#arm(running);
  }

  #handleEvent(running: Running, event: PortMapEvent): void {
    const gateway = this.#gateway;
    if (event.type === "router-restarted") {
      this.#log.info("router-restarted", { gateway });
      this.#options.onRestart?.();
      return;
    }
    const { protocol, external, internalPort, isPublic } = event.lease;
    if (event.type === "lost") this.#log.info("port-mapping-lost", { protocol, external, why: event.why });
    else {
      this.#log.info("port-mapped", { protocol, gateway, external, internalPort, isPublic });
      void this.#listenForAnnouncements(running);
    }
  }

  #do({ mapper, questions }: Running, output: PortMapOutput): void {
    if (output.kind === "datagram") {
      questions.send(output.data, output.to.port, output.to.ip, () => {}); // not sent is lost, and is repeated
      return;
    }
    const answered = (answer: Awaited<ReturnType<typeof fetchFromRouter>>): void => {
      if (this.#abort.signal.aborted) return;
      mapper.handleHttp(this.#clock.now(), output.id, answer);
      this.#turn();
    };
    if (this.#httpUnderWay >= MAX_HTTP_AT_ONCE) return void queueMicrotask(() => answered(null));
    this.#httpUnderWay++;
    void fetchFromRouter(output.request, this.#abort.signal).then((answer) => {
      this.#httpUnderWay--;
      answered(answer);
    });
  }

  async #listenForAnnouncements(running: Running): Promise<void> {
    const { mapper } = running;
    if (running.announcements || mapper.lease?.protocol === "upnp") return;
    const hear = (from: Parameters<PortMapper["handleAnnouncement"]>[1]): void => {
      mapper.handleAnnouncement(this.#clock.now(), from);
      this.#turn();
    };
    const socket = await openAnnouncements(mapper.localIp, hear, this.#log);
    if (this.#running === running && !running.announcements && !this.#abort.signal.aborted)
      running.announcements = socket;
    else socket?.close();
  }

  #tell(): void {
    const { report } = this;
    const said = JSON.stringify(report);
    if (said === this.#said) return;
    this.#said = said;
    this.#options.onChange?.(report);
  }

  #arm(running: Running | null): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    const deadline = running?.mapper.pollTimeout();
    if (!running || !deadline) return;
    const waitMs = Math.min(2 ** 31 - 1, Math.max(1, Math.ceil(deadline.at - this.#clock.now())));
    this.#timer = setTimeout(() => {
      running.mapper.handleTimeout(this.#clock.now());
      this.#turn();
    }, waitMs);
    this.#timer.unref();
  }

  get #isClosing(): boolean {
    return this.#onGone !== null || this.#abort.signal.aborted;
  }

  #closeSockets(): void {
    this.#running?.questions.close();
    this.#running?.announcements?.close();
    this.#running = null;
  }

  #end(): void {
    if (this.#abort.signal.aborted) return;
    this.#abort.abort();
    if (this.#timer) clearTimeout(this.#timer);
    this.#closeSockets();
    this.#onGone?.();
  }
}
