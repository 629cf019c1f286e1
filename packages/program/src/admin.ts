import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { isIP } from "node:net";
import { classifyIp, formatIp, parseIp, type SocketAddress } from "@adit/core";
import { bindFailure } from "./exit.ts";

/** What the admin endpoint shows; asked at each request. */
export interface AdminSource {
  /** Ready is 200, else 503; the rest of the object goes into the answer. */
  health(): { readonly ready: boolean; readonly [detail: string]: unknown };
  status(): object;
  metrics(): readonly Metric[];
}

/** One Prometheus metric. */
export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly samples: readonly MetricSample[];
}

export interface MetricSample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
  /** Behind the metric's name: a histogram's `_bucket`, `_sum` and `_count`. */
  readonly suffix?: string;
}

export interface AdminServer {
  /** With the port that port 0 became. */
  readonly address: SocketAddress;
  close(): Promise<void>;
}

/** Connections at once; the next ones are closed. Bun does not heed it, and tells of no connection before its request: there a silent one ends after some 12 s. */
const MAX_CONNECTIONS = 64;
const REQUEST_TIMEOUT_MS = 5000;

/**
 * Serves `GET /healthz`, `/status` and `/metrics`. A Host header that is neither loopback nor the bound address is
 * refused: a web page that makes its own name resolve to this address (DNS rebinding) must not read the status.
 * @throws ExitError `usage` when the address cannot be bound.
 */
export async function startAdmin(address: SocketAddress, source: AdminSource): Promise<AdminServer> {
  const server = createServer(
    { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS },
    (request, response) => {
      respond(source, address, request, response);
    },
  );
  server.maxConnections = MAX_CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(bindFailure(error, "--admin", `the admin address ${address.key}`)));
    server.listen(address.port, address.ip, resolve);
  });
  const bound = server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : address.port;
  return {
    address: address.withPort(port),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** @internal Exported for its test. */
export function respond(
  source: AdminSource,
  bound: SocketAddress,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const local = request.socket.localAddress ?? bound.ip;
  if (!isTrustedHost(request.headers.host, [bound.ip, local])) {
    return sendJson(response, 403, { error: "the Host header is neither a loopback address nor the admin address" });
  }
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("Allow", "GET, HEAD");
    return sendJson(response, 405, { error: "only GET and HEAD are answered" });
  }
  switch ((request.url ?? "").split("?")[0]) {
    case "/healthz": {
      const health = source.health();
      return sendJson(response, health.ready ? 200 : 503, health);
    }
    case "/status":
      return sendJson(response, 200, source.status());
    case "/metrics":
      return send(response, 200, "text/plain; version=0.0.4; charset=utf-8", renderMetrics(source.metrics()));
    default:
      return sendJson(response, 404, { error: "there are /healthz, /status and /metrics" });
  }
}

/** Whether a Host header names loopback or one of `addresses` (IP texts), with any port. */
export function isTrustedHost(host: string | undefined, addresses: readonly string[]): boolean {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]+))(?::\d{1,5})?$/i.exec(host ?? "");
  const name = (match?.[1] ?? match?.[2] ?? "").toLowerCase();
  if (name === "localhost" || name === "localhost.") return true;
  const bytes = isIP(name) === 0 ? null : parseIp(name);
  if (!bytes) return false;
  const ip = formatIp(bytes);
  return (
    classifyIp(ip) === "loopback" ||
    addresses.some((address) => {
      const own = parseIp(address);
      return own !== null && formatIp(own) === ip;
    })
  );
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  send(response, status, "application/json", `${JSON.stringify(body)}\n`);
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    "Content-Type": type,
    "Content-Length": Buffer.byteLength(body),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
  });
  response.end(body);
}

/** Prometheus text format 0.0.4. */
export function renderMetrics(metrics: readonly Metric[]): string {
  return metrics
    .map(({ name, help, type, samples }) => {
      const lines = samples.map(
        ({ labels = {}, value, suffix = "" }) => `${name}${suffix}${renderLabels(labels)} ${value}`,
      );
      return [
        `# HELP ${name} ${help.replace(/\\/g, "\\\\").replace(/\n/g, "\\n")}`,
        `# TYPE ${name} ${type}`,
        ...lines,
        "",
      ].join("\n");
    })
    .join("");
}

function renderLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(
    ([name, value]) => `${name}="${value.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n")}"`,
  );
  return pairs.length > 0 ? `{${pairs.join(",")}}` : "";
}
