import { SocketAddress, utf8 } from "@adit/core";

/** UPnP Device Architecture 1.1 §1.3. */
export const SSDP_GROUP = SocketAddress.of("239.255.255.250", 1900);
const SSDP_PORT = SSDP_GROUP.port;
/** Within which devices answer, each after a random wait, s. */
const MX_SECONDS = 1;

/** A version 2 device has to answer to 1 as well; some do not. */
const TARGETS = [
  "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
  "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
] as const;

/** Searches for the gateway's UPnP device: to the group, and to the router itself, as some access points drop multicast. */
export function searchDatagrams(gateway: string): { readonly to: SocketAddress; readonly data: Uint8Array }[] {
  return [SSDP_GROUP, SocketAddress.of(gateway, SSDP_PORT)].flatMap((to) =>
    TARGETS.map((target) => ({
      to,
      data: utf8(
        [
          "M-SEARCH * HTTP/1.1",
          `HOST: ${to.key}`,
          'MAN: "ssdp:discover"',
          `MX: ${MX_SECONDS}`,
          `ST: ${target}`,
          "",
          "",
        ].join("\r\n"),
      ),
    })),
  );
}

const MAX_ANSWER_BYTES = 2_048;

/** Where the description of a device is that answered a search; null for anything else. */
export function readSearchAnswer(data: Uint8Array, gateway: string): URL | null {
  if (data.length > MAX_ANSWER_BYTES) return null;
  const text = new TextDecoder("latin1").decode(data);
  if (!/^HTTP\/1\.[01] 200\b/.test(text)) return null;
  const location = /^location:[ \t]*(\S{1,512})[ \t]*\r?$/im.exec(text)?.[1];
  return location === undefined ? null : gatewayUrl(location, gateway);
}

/**
 * A URL on the router itself, named by number; null for any other, since whoever answers in the router's place could otherwise make this
 * program send requests to any host of the network.
 */
export function gatewayUrl(text: string, gateway: string, base?: URL): URL | null {
  try {
    const url = new URL(text, base);
    const plain = url.protocol === "http:" && url.username === "" && url.password === "";
    return plain && url.hostname === gateway ? url : null;
  } catch {
    return null;
  }
}
