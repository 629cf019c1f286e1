import { request } from "node:http";
import { HTTP_TIMEOUT_MS, type HttpAnswer, type HttpRequest, MAX_HTTP_BODY_BYTES } from "./types.ts";

/** One request to a router: no redirects, no connection kept, bounded in time and size. Null when no whole answer came. */
export function fetchFromRouter(
  { method, url, headers, body }: HttpRequest,
  signal: AbortSignal,
): Promise<HttpAnswer | null> {
  return new Promise((settle) => {
    const timer = setTimeout(() => asked.destroy(), HTTP_TIMEOUT_MS);
    const resolve = (answer: HttpAnswer | null): void => {
      clearTimeout(timer);
      settle(answer);
    };
    const asked = request(
      {
        host: url.hostname,
        port: url.port || 80,
        path: `${url.pathname}${url.search}`,
        method,
        agent: false,
        headers: { ...headers, ...(body && { "Content-Length": Buffer.byteLength(body) }), Connection: "close" },
        signal,
      },
      (response) => {
        const chunks: Buffer[] = [];
        let length = 0;
        response.on("data", (chunk: Buffer) => {
          length += chunk.length;
          if (length > MAX_HTTP_BODY_BYTES) asked.destroy();
          else chunks.push(chunk);
        });
        response.on("error", () => resolve(null));
        response.on("close", () => resolve(null));
        response.on("end", () => {
          const whole = response.complete && length <= MAX_HTTP_BODY_BYTES;
          resolve(whole ? { status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString("utf8") } : null);
        });
      },
    );
    asked.on("error", () => resolve(null));
    asked.on("close", () => resolve(null));
    asked.end(body || undefined);
  });
}
