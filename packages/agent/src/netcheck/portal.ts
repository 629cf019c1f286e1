import { connect } from "node:net";
import type { SocketAddress } from "@adit/core";

/** What answers HTTP at the server's address. `page`: whoever it is, it does not send us away. */
export type HttpAnswer =
  | { readonly kind: "nothing" }
  | { readonly kind: "page" }
  /** `signIn`: where it wants a browser to go, when it says so. */
  | { readonly kind: "portal"; readonly signIn: string | null };

const HTTP_PORT = 80;
const ANSWER_MS = 2_000;
const MAX_HEAD_BYTES = 8_192;
const MAX_URL_LENGTH = 300;

/** Captive portals answer plain HTTP in place of every host, whatever else they block. */
export async function askOverHttp(server: SocketAddress, port = HTTP_PORT): Promise<HttpAnswer> {
  const host = server.family === 6 ? `[${server.ip}]` : server.ip;
  return await new Promise((resolve) => {
    const socket = connect({ host: server.ip, port });
    let head = "";
    const done = (): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(readAnswer(head, host));
    };
    const timer = setTimeout(done, ANSWER_MS);
    socket.on("connect", () => socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`));
    socket.on("data", (data: Uint8Array) => {
      head += Buffer.from(data).toString("latin1");
      if (head.includes("\r\n\r\n") || head.length > MAX_HEAD_BYTES) done();
    });
    socket.on("error", done);
    socket.on("close", done);
  });
}

/** RFC 6585 §6: 511 "Network Authentication Required"; most redirect to a host of their own instead. */
export function readAnswer(head: string, askedHost: string): HttpAnswer {
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1];
  if (status === undefined) return { kind: "nothing" };
  const target = elsewhere(/\r\nlocation: *([^\r\n]+)/i.exec(head)?.[1], askedHost);
  if (status === "511" || (status.startsWith("3") && target !== null)) return { kind: "portal", signIn: target };
  return { kind: "page" };
}

/** As it may be shown: a URL of another host, in ASCII and short. */
function elsewhere(location: string | undefined, askedHost: string): string | null {
  if (location === undefined || !URL.canParse(location)) return null;
  const { protocol, hostname, href } = new URL(location);
  const isWeb = protocol === "http:" || protocol === "https:";
  return isWeb && hostname !== askedHost && href.length <= MAX_URL_LENGTH ? href : null;
}
