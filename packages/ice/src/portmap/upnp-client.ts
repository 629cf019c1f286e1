import { classifyIp, type Deadline, type Millis, parseIp, type Random, randomInt, SocketAddress } from "@adit/core";
import { readSoapAnswer, type SoapAnswer, soapRequest, type WanService, wanServices } from "./igd.ts";
import { readSearchAnswer, searchDatagrams } from "./ssdp.ts";
import {
  type ClientStatus,
  type HttpAnswer,
  type HttpRequest,
  LEASE_SECONDS,
  type MappingClient,
  type MappingTarget,
  type PortLease,
  type PortMapOutput,
  RETRY_MS,
} from "./types.ts";

/** Searches are lost like any datagram: repeated after these waits; the last one is how long answers are awaited. */
const SEARCH_WAITS_MS = [400, 800, 1_800] as const;
/** Descriptions that are read of those that answer in the router's name. */
const MAX_LOCATIONS = 4;
/** Taken external ports: so many others are tried. */
const MAX_PORTS_TRIED = 4;
/** After a renewal without an answer. */
const RENEWAL_PAUSE_MS = 30_000;
/** A mapping that only ends when it is removed is looked after this often. */
const PERMANENT_CHECK_MS = 600_000;

/** WANIPConnection:1 §2.4.16 and 2.5.16. */
const ERROR = {
  invalidAction: 401,
  conflict: 718,
  samePortsRequired: 724,
  onlyPermanentLeases: 725,
} as const;

/** Is told the answer to each request that it yields. */
type Script = Generator<HttpRequest, void, HttpAnswer | null>;

type State =
  | { readonly kind: "absent"; readonly why: string }
  | { readonly kind: "refused"; readonly why: string; readonly retryAfterMs: Millis }
  | { readonly kind: "present" | "mapping" | "unmapping" | "gone" }
  /** Searching while `at` is a time, then reading descriptions. */
  | { readonly kind: "probing"; readonly searches: number; readonly at: Millis | null }
  | { readonly kind: "mapped"; readonly lease: PortLease; readonly renewAt: Millis; readonly expiresAt: Millis };

/** A client of UPnP's Internet Gateway Device, versions 1 and 2: search, description, then SOAP calls one after another. */
export class UpnpClient implements MappingClient {
  readonly protocol = "upnp";
  readonly #target: MappingTarget;
  readonly #random: Random;
  readonly #description: string;
  #state: State = { kind: "absent", why: "not asked" };
  #locations: URL[] = [];
  /** How many of them were read. */
  #described = 0;
  #services: readonly WanService[] = [];
  /** The one that the mapping is at. */
  #service: WanService | null = null;
  #externalPort: number;
  #leaseSeconds: number = LEASE_SECONDS;
  #script: Script | null = null;
  #now: Millis = 0;
  #requestId = 0;
  readonly #outbox: PortMapOutput[] = [];

  /** @param description What the router shows in its list of mappings. */
  constructor(target: MappingTarget, random: Random, description: string) {
    this.#target = target;
    this.#random = random;
    this.#description = description;
    this.#externalPort = target.internalPort;
  }

  get status(): ClientStatus {
    const state = this.#state;
    if (state.kind === "mapped") return { kind: "mapped", lease: state.lease };
    return state.kind === "probing" ? { kind: "probing" } : state;
  }

  probe(now: Millis): void {
    this.#stop();
    this.#locations = [];
    this.#described = 0;
    this.#state = { kind: "probing", searches: 0, at: now };
    this.#search(now, 0);
  }

  map(now: Millis): void {
    this.#state = { kind: "mapping" };
    this.#run(now, this.#mapping());
  }

  /** The same request again refreshes a mapping and makes one that is gone: there is no cheaper way that all routers know. */
  verify(now: Millis): void {
    if (this.#state.kind === "mapped" && this.#script === null) this.#run(now, this.#mapping());
  }

  unmap(now: Millis): void {
    const wasMapped = this.#service !== null;
    this.#stop();
    this.#state = { kind: wasMapped ? "unmapping" : "gone" };
    if (wasMapped) this.#run(now, this.#removal());
  }

  /** True: it was a device's answer to a search, from the router. */
  handleDatagram(now: Millis, from: SocketAddress, data: Uint8Array): boolean {
    if (from.ip !== this.#target.gateway) return false;
    const location = readSearchAnswer(data, this.#target.gateway);
    if (!location) return false;
    const known = this.#locations.some(({ href }) => href === location.href);
    if (this.#state.kind !== "probing" || known || this.#locations.length >= MAX_LOCATIONS) return true;
    this.#locations.push(location);
    if (this.#script === null) this.#run(now, this.#describing());
    return true;
  }

  /** Null: nothing came. */
  handleHttp(now: Millis, id: number, answer: HttpAnswer | null): void {
    if (id === this.#requestId) this.#step(now, answer);
  }

  handleTimeout(now: Millis): void {
    const state = this.#state;
    if (state.kind === "probing" && state.at !== null && now >= state.at) this.#search(now, state.searches);
    if (state.kind !== "mapped") return;
    if (now >= state.expiresAt) {
      this.#stop();
      this.#state = { kind: "absent", why: "the router has not answered until the mapping ended" };
    } else if (now >= state.renewAt && this.#script === null) this.#run(now, this.#mapping());
  }

  pollTimeout(): Deadline | null {
    const state = this.#state;
    if (state.kind === "probing") return state.at === null ? null : { at: state.at, reason: "upnp-search" };
    if (state.kind !== "mapped") return null;
    return {
      at: this.#script === null ? Math.min(state.renewAt, state.expiresAt) : state.expiresAt,
      reason: "upnp-renewal",
    };
  }

  pollOutput(): PortMapOutput | null {
    return this.#outbox.shift() ?? null;
  }

  #search(now: Millis, done: number): void {
    const waitMs = SEARCH_WAITS_MS[done];
    if (waitMs !== undefined) {
      for (const { to, data } of searchDatagrams(this.#target.gateway))
        this.#outbox.push({ kind: "datagram", to, data });
      this.#state = { kind: "probing", searches: done + 1, at: now + waitMs };
    } else if (this.#script === null) this.#state = this.#nothingFound();
    else this.#state = { kind: "probing", searches: done, at: null };
  }

  #nothingFound(): State {
    const why = this.#locations.length === 0 ? "no answer" : "what the router describes has no WAN connection";
    return { kind: "absent", why };
  }

  *#describing(): Script {
    while (this.#described < this.#locations.length) {
      const location = this.#locations[this.#described++] as URL;
      const answer = yield { method: "GET", url: location, headers: {}, body: "" };
      const services = answer?.status === 200 ? wanServices(answer.body, location, this.#target.gateway) : [];
      if (services.length === 0) continue;
      this.#services = services;
      this.#state = { kind: "present" };
      return;
    }
    if (this.#state.kind === "probing" && this.#state.at === null) this.#state = this.#nothingFound();
  }

  /** The first service with an external address gets the mapping; a renewal stays with its own. */
  *#mapping(): Script {
    let [why, silent] = ["no WAN connection", false];
    for (const service of this.#service ? [this.#service] : this.#services) {
      const address = yield* call(service, "GetExternalIPAddress");
      const ip = address.ok ? (address.value("NewExternalIPAddress") ?? "") : "";
      if (parseIp(ip)?.length !== 4) {
        why = address.ok ? "the router has no external address" : address.why;
        silent = !address.ok && address.code === 0;
        continue;
      }
      this.#service = service; // from here on there may be something to remove
      const added = yield* this.#add(service);
      if (added.ok) return this.#hold(ip);
      why = added.why;
      silent = added.code === 0;
    }
    // A mapping that stands is not given up for one lost answer.
    if (silent && this.#state.kind === "mapped") {
      this.#state = { ...this.#state, renewAt: this.#now + RENEWAL_PAUSE_MS };
      return;
    }
    this.#service = null;
    this.#state = { kind: "refused", why, retryAfterMs: RETRY_MS };
  }

  *#add(service: WanService): Generator<HttpRequest, SoapAnswer, HttpAnswer | null> {
    let anyPort = service.type.endsWith(":2");
    let answer: SoapAnswer = { ok: false, code: 0, why: "no answer" };
    for (let tried = 0; tried < MAX_PORTS_TRIED; ) {
      const action = anyPort ? "AddAnyPortMapping" : "AddPortMapping";
      answer = yield* call(service, action, this.#arguments());
      if (answer.ok) {
        const reserved = anyPort ? Number(answer.value("NewReservedPort")) : this.#externalPort;
        if (!Number.isInteger(reserved) || reserved < 1 || reserved > 65_535) {
          return { ok: false, code: 0, why: "the router's answer names no port" };
        }
        this.#externalPort = reserved;
        return answer;
      }
      const { internalPort } = this.#target;
      if (answer.code === ERROR.onlyPermanentLeases && this.#leaseSeconds > 0) this.#leaseSeconds = 0;
      else if (answer.code === ERROR.invalidAction && anyPort) anyPort = false;
      else if (answer.code === ERROR.samePortsRequired && this.#externalPort !== internalPort) {
        this.#externalPort = internalPort;
        tried++;
      } else if (answer.code === ERROR.conflict) {
        this.#externalPort = 1_024 + randomInt(this.#random, 64_512);
        tried++;
      } else return answer;
    }
    return answer;
  }

  #arguments(): readonly (readonly [string, string | number])[] {
    return [
      ["NewRemoteHost", ""],
      ["NewExternalPort", this.#externalPort],
      ["NewProtocol", "UDP"],
      ["NewInternalPort", this.#target.internalPort],
      ["NewInternalClient", this.#target.localIp],
      ["NewEnabled", 1],
      ["NewPortMappingDescription", this.#description],
      ["NewLeaseDuration", this.#leaseSeconds],
    ];
  }

  #hold(ip: string): void {
    const { gateway, internalPort } = this.#target;
    const permanent = this.#leaseSeconds === 0;
    const lifetimeMs = permanent ? PERMANENT_CHECK_MS * 2 : this.#leaseSeconds * 1000;
    this.#state = {
      kind: "mapped",
      lease: {
        protocol: this.protocol,
        gateway,
        internalPort,
        external: SocketAddress.of(ip, this.#externalPort),
        isPublic: classifyIp(ip) === "public",
        lifetimeMs: permanent ? null : lifetimeMs,
      },
      renewAt: this.#now + lifetimeMs / 2,
      expiresAt: this.#now + lifetimeMs,
    };
  }

  *#removal(): Script {
    if (this.#service) {
      yield* call(this.#service, "DeletePortMapping", [
        ["NewRemoteHost", ""],
        ["NewExternalPort", this.#externalPort],
        ["NewProtocol", "UDP"],
      ]);
    }
    this.#state = { kind: "gone" };
  }

  #run(now: Millis, script: Script): void {
    this.#script = script;
    this.#step(now, null);
  }

  #step(now: Millis, answer: HttpAnswer | null): void {
    if (!this.#script) return;
    this.#now = now;
    const script = this.#script;
    const { done, value } = script.next(answer);
    if (done) {
      this.#script = null;
      this.#requestId++; // what is still under way is for nobody
    } else this.#outbox.push({ kind: "http", id: ++this.#requestId, request: value });
  }

  #stop(): void {
    this.#script = null;
    this.#requestId++;
    this.#outbox.length = 0;
  }
}

function* call(
  service: WanService,
  action: string,
  args: readonly (readonly [string, string | number])[] = [],
): Generator<HttpRequest, SoapAnswer, HttpAnswer | null> {
  return readSoapAnswer(yield soapRequest(service, action, args), action);
}
