import { gatewayUrl } from "./ssdp.ts";
import type { HttpAnswer, HttpRequest } from "./types.ts";
import { childText, elementsNamed, escapeXml, parseXml } from "./xml.ts";

/** A service of an Internet Gateway Device that maps ports. */
export interface WanService {
  /** `urn:schemas-upnp-org:service:WANIPConnection:2` and its like. */
  readonly type: string;
  readonly control: URL;
}

/** Preferred first. */
const SERVICE_TYPES = ["WANIPConnection:2", "WANIPConnection:1", "WANPPPConnection:1"].map(
  (name) => `urn:schemas-upnp-org:service:${name}`,
);
/** Of a router with several lines, so many are tried. */
const MAX_SERVICES = 4;

/** The services in a device's description, which came from `location`. Those that are not on the router itself are left out. */
export function wanServices(description: string, location: URL, gateway: string): WanService[] {
  const root = parseXml(description);
  if (!root) return [];
  const stated = childText(root, "URLBase");
  const base = (stated ? gatewayUrl(stated, gateway) : null) ?? location;
  const found: WanService[] = [];
  for (const service of elementsNamed(root, "service")) {
    const type = childText(service, "serviceType") ?? "";
    const path = childText(service, "controlURL");
    const control = path ? gatewayUrl(path, gateway, base) : null;
    if (control && SERVICE_TYPES.includes(type)) found.push({ type, control });
  }
  const rank = ({ type }: WanService) => SERVICE_TYPES.indexOf(type);
  return found.sort((a, b) => rank(a) - rank(b)).slice(0, MAX_SERVICES);
}

/** A SOAP call, its arguments in the order that the service's description gives them: routers insist on it. */
export function soapRequest(
  { type, control }: WanService,
  action: string,
  args: readonly (readonly [string, string | number])[] = [],
): HttpRequest {
  const inner = args.map(([name, value]) => `<${name}>${escapeXml(String(value))}</${name}>`).join("");
  const body =
    '<?xml version="1.0"?>\r\n' +
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">' +
    `<s:Body><u:${action} xmlns:u="${type}">${inner}</u:${action}></s:Body></s:Envelope>\r\n`;
  return {
    method: "POST",
    url: control,
    headers: { "Content-Type": 'text/xml; charset="utf-8"', SOAPAction: `"${type}#${action}"` },
    body,
  };
}

export type SoapAnswer =
  | { readonly ok: true; readonly value: (name: string) => string | null }
  /** `code`: the UPnP error (§3.2.2 of the device architecture), or 0 when the answer makes no sense. */
  | { readonly ok: false; readonly code: number; readonly why: string };

export function readSoapAnswer(answer: HttpAnswer | null, action: string): SoapAnswer {
  if (!answer) return { ok: false, code: 0, why: "no answer" };
  const root = parseXml(answer.body);
  if (root) {
    for (const response of elementsNamed(root, `${action}Response`)) {
      return { ok: true, value: (name) => childText(response, name) };
    }
    for (const error of elementsNamed(root, "UPnPError")) {
      const code = Number.parseInt(childText(error, "errorCode") ?? "0", 10) || 0;
      const words = (childText(error, "errorDescription") ?? "").replace(/[^\x20-\x7e]/g, "").slice(0, 100);
      return { ok: false, code, why: `error ${code}${words ? ` (${words})` : ""}` };
    }
  }
  return { ok: false, code: 0, why: `HTTP status ${answer.status} without a SOAP answer` };
}
