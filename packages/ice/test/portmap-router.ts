/** A router for tests of port mapping, on virtual time: PCP, NAT-PMP and UPnP, each on or off, with the quirks that real ones have. */
import { type Millis, parseIp, type Random, SocketAddress, seededRandom, utf8 } from "@adit/core";
import { type PortMapEvent, PortMapper, type PortMapperOptions } from "../src/portmap/port-mapper.ts";
import type { HttpAnswer, HttpRequest, PortMapOutput } from "../src/portmap/types.ts";

export const GATEWAY = "192.168.1.1";
export const HOST = "192.168.1.2";
const SSDP_GROUP = "239.255.255.250";

export interface RouterSetting {
  pcp: boolean;
  natPmp: boolean;
  upnp: boolean;
  upnpVersion: 1 | 2;
  externalIp: string;
  /** Refuses mappings with this PCP, NAT-PMP or UPnP code. */
  refuses: number | null;
  /** UPnP: mappings with a lease are refused with 725. */
  onlyPermanent: boolean;
  /** UPnP: these external ports are taken (718). */
  taken: number[];
  grantSeconds: number | null;
  location: string;
  controlUrl: string;
  up: boolean;
}

export interface Mapping {
  readonly external: number;
  readonly internal: number;
  readonly by: "pcp" | "nat-pmp" | "upnp";
  /** Infinity: permanent. */
  readonly until: Millis;
}

export class FakeRouter {
  readonly setting: RouterSetting = {
    pcp: true,
    natPmp: true,
    upnp: true,
    upnpVersion: 2,
    externalIp: "11.0.0.10",
    refuses: null,
    onlyPermanent: false,
    taken: [],
    grantSeconds: null,
    location: `http://${GATEWAY}:5000/root.xml`,
    controlUrl: "/ctl/IPConn",
    up: true,
  };
  /** By external port. */
  readonly mappings = new Map<number, Mapping>();
  /** What it was asked, in words. */
  readonly log: string[] = [];
  #startedAt: Millis = -100_000;
  readonly #pmpServer: SocketAddress;

  constructor(setting: Partial<RouterSetting> = {}, gateway = GATEWAY) {
    this.#pmpServer = SocketAddress.of(gateway, 5351);
    Object.assign(this.setting, setting);
  }

  restart(now: Millis): void {
    this.#startedAt = now;
    this.mappings.clear();
  }

  standing(now: Millis): Mapping[] {
    return [...this.mappings.values()].filter(({ until }) => until > now);
  }

  datagram(now: Millis, to: SocketAddress, data: Uint8Array): { from: SocketAddress; data: Uint8Array } | null {
    if (!this.setting.up) return null;
    if (to.equals(this.#pmpServer)) {
      const answer = data[0] === 2 ? this.#pcp(now, data) : this.#natPmp(now, data);
      return answer && { from: to, data: answer };
    }
    if (!this.setting.upnp || to.port !== 1900) return null;
    this.log.push("search");
    const text = `HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: upnp:rootdevice\r\nLocation: ${this.setting.location}\r\n\r\n`;
    return { from: to.ip === SSDP_GROUP ? SocketAddress.of(GATEWAY, 1900) : to, data: utf8(text) };
  }

  http(now: Millis, { method, url, headers, body }: HttpRequest): HttpAnswer | null {
    const { up, upnp, upnpVersion, controlUrl } = this.setting;
    if (!up || !upnp) return null;
    const type = `urn:schemas-upnp-org:service:WANIPConnection:${upnpVersion}`;
    if (method === "GET") {
      this.log.push(`GET ${url.pathname}`);
      const service = `<service><serviceType>${type}</serviceType><controlURL>${controlUrl}</controlURL></service>`;
      return {
        status: 200,
        body: `<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device><deviceList><device><serviceList>${service}</serviceList></device></deviceList></device></root>`,
      };
    }
    const action = /#(\w+)"/.exec(headers.SOAPAction ?? "")?.[1] ?? "";
    this.log.push(action);
    const result = this.#soap(now, action, (name) => new RegExp(`<${name}>(.*?)</${name}>`).exec(body)?.[1] ?? "");
    const inner =
      typeof result === "number"
        ? `<s:Fault><detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>${result}</errorCode><errorDescription>no</errorDescription></UPnPError></detail></s:Fault>`
        : `<u:${action}Response xmlns:u="${type}">${result}</u:${action}Response>`;
    return {
      status: typeof result === "number" ? 500 : 200,
      body: `<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>${inner}</s:Body></s:Envelope>`,
    };
  }

  #pcp(now: Millis, data: Uint8Array): Uint8Array | null {
    const { pcp, natPmp, externalIp, refuses } = this.setting;
    if (!pcp) return natPmp ? this.#pmpHeader(now, data[1] as number, 1, 8) : null;
    const answer = data.slice();
    const view = new DataView(answer.buffer);
    answer[1] = (data[1] as number) | 0x80;
    answer[3] = data[1] === 1 ? (refuses ?? 0) : 0;
    view.setUint32(8, this.#epoch(now));
    answer.fill(0, 12, 24);
    if (data[1] === 0) return answer;
    const asked = view.getUint32(4);
    const internal = view.getUint16(40);
    if (answer[3] === 0) {
      const seconds = asked === 0 ? 0 : (this.setting.grantSeconds ?? asked);
      const external = this.#map(now, "pcp", internal, view.getUint16(42), seconds);
      view.setUint32(4, seconds);
      view.setUint16(42, external);
      answer.set([0xff, 0xff, ...(parseIp(externalIp) as Uint8Array)], 54);
    }
    return answer;
  }

  #natPmp(now: Millis, data: Uint8Array): Uint8Array | null {
    const { natPmp, externalIp, refuses } = this.setting;
    if (!natPmp) return null;
    if (data[1] === 0) {
      const answer = this.#pmpHeader(now, 0, 0, 12);
      answer.set(parseIp(externalIp) as Uint8Array, 8);
      return answer;
    }
    const asked = new DataView(data.slice().buffer);
    const answer = this.#pmpHeader(now, 1, refuses ?? 0, 16);
    if (refuses !== null) return answer;
    const seconds = asked.getUint32(8) === 0 ? 0 : (this.setting.grantSeconds ?? asked.getUint32(8));
    const view = new DataView(answer.buffer);
    view.setUint16(8, asked.getUint16(4));
    view.setUint16(10, this.#map(now, "nat-pmp", asked.getUint16(4), asked.getUint16(6), seconds));
    view.setUint32(12, seconds);
    return answer;
  }

  #pmpHeader(now: Millis, opcode: number, result: number, length: number): Uint8Array {
    const answer = new Uint8Array(length);
    const view = new DataView(answer.buffer);
    answer[1] = 128 + opcode;
    view.setUint16(2, result);
    view.setUint32(4, this.#epoch(now));
    return answer;
  }

  #epoch(now: Millis): number {
    return Math.floor((now - this.#startedAt) / 1000);
  }

  /** The external port that it became. */
  #map(now: Millis, by: Mapping["by"], internal: number, wanted: number, seconds: number): number {
    this.log.push(`${by} ${seconds === 0 ? "unmap" : "map"} ${internal}`);
    for (const [port, one] of this.mappings) if (one.internal === internal) this.mappings.delete(port);
    if (seconds === 0) return 0;
    const external = this.setting.taken.includes(wanted) ? wanted + 1 : wanted;
    this.mappings.set(external, { external, internal, by, until: now + seconds * 1000 });
    return external;
  }

  #soap(now: Millis, action: string, arg: (name: string) => string): string | number {
    const { externalIp, refuses, onlyPermanent, taken, upnpVersion } = this.setting;
    const port = Number(arg("NewExternalPort"));
    switch (action) {
      case "GetExternalIPAddress":
        return `<NewExternalIPAddress>${externalIp}</NewExternalIPAddress>`;
      case "AddAnyPortMapping":
      case "AddPortMapping": {
        if (refuses !== null) return refuses;
        if (action === "AddAnyPortMapping" && upnpVersion === 1) return 401;
        const seconds = Number(arg("NewLeaseDuration"));
        if (onlyPermanent && seconds > 0) return 725;
        if (taken.includes(port)) return 718;
        const until = seconds === 0 ? Number.POSITIVE_INFINITY : now + seconds * 1000;
        this.mappings.set(port, { external: port, internal: Number(arg("NewInternalPort")), by: "upnp", until });
        return action === "AddAnyPortMapping" ? `<NewReservedPort>${port}</NewReservedPort>` : "";
      }
      case "DeletePortMapping":
        return this.mappings.delete(port) ? "" : 714;
      default:
        return 401;
    }
  }
}

/** A mapper and its router, with a delay of 1 ms each way. */
export class Bench {
  now: Millis = 0;
  readonly router: FakeRouter;
  readonly mapper: PortMapper;
  readonly events: (PortMapEvent & { readonly at: Millis })[] = [];
  readonly sent: { readonly at: Millis; readonly output: PortMapOutput }[] = [];
  /** What is on its way. */
  #arrivals: { readonly at: Millis; readonly arrive: () => void }[] = [];

  constructor(
    setting: Partial<RouterSetting> = {},
    options: Partial<PortMapperOptions> = {},
    random: Random = seededRandom(1),
  ) {
    this.router = new FakeRouter(setting);
    this.mapper = new PortMapper(0, { gateway: GATEWAY, localIp: HOST, internalPort: 40_000, random, ...options });
    this.#drain();
  }

  deliver(from: SocketAddress, data: Uint8Array): void {
    this.mapper.handleDatagram(this.now, from, data);
    this.#drain();
  }

  do(act: (mapper: PortMapper, now: Millis) => void): void {
    act(this.mapper, this.now);
    this.#drain();
  }

  /** @throws when the mapper asks to be called again and again without moving. */
  runUntil(end: Millis): void {
    let turns = 0;
    for (;;) {
      const deadline = this.mapper.pollTimeout()?.at ?? Number.POSITIVE_INFINITY;
      const arrival = this.#arrivals[0];
      const at = Math.max(this.now, Math.min(deadline, arrival?.at ?? Number.POSITIVE_INFINITY));
      if (at > end) break;
      turns = at > this.now ? 0 : turns + 1;
      if (turns > 1_000) throw new Error(`stuck at ${at}: ${this.mapper.pollTimeout()?.reason}`);
      this.now = at;
      if (arrival && arrival.at <= at) {
        this.#arrivals.shift();
        arrival.arrive();
      } else this.mapper.handleTimeout(this.now);
      this.#drain();
    }
    this.now = end;
  }

  #drain(): void {
    for (let output = this.mapper.pollOutput(); output; output = this.mapper.pollOutput()) {
      this.sent.push({ at: this.now, output });
      const at = this.now + 2;
      if (output.kind === "datagram") {
        const answer = this.router.datagram(this.now, output.to, output.data);
        if (answer) this.#arrive(at, () => this.mapper.handleDatagram(this.now, answer.from, answer.data));
      } else {
        const { id, request } = output;
        const answer = this.router.http(this.now, request);
        this.#arrive(answer ? at : this.now + 5_000, () => this.mapper.handleHttp(this.now, id, answer));
      }
    }
    for (let event = this.mapper.pollEvent(); event; event = this.mapper.pollEvent()) {
      this.events.push({ ...event, at: this.now });
    }
  }

  #arrive(at: Millis, arrive: () => void): void {
    this.#arrivals.push({ at, arrive });
    this.#arrivals.sort((a, b) => a.at - b.at);
  }
}
