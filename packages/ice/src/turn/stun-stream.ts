/** A TCP or TLS connection to a STUN or TURN server, as messages: the one part of TURN that does I/O. */
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { AditError, type Millis, SocketAddress } from "@adit/core";
import { frameForStream, MAX_STREAM_MESSAGE_BYTES, StreamDeframer } from "./stream-framing.ts";

/** `code`: the connection could not be made ("refused", "timeout"), or TLS does not trust the server ("untrusted"). */
export class StunStreamError extends AditError {
  /** What happened. */
  override readonly code: "refused" | "timeout" | "untrusted" | "aborted";

  constructor(code: StunStreamError["code"], message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

/** What {@link connectStunStream} takes. */
export interface StunStreamOptions {
  /** Where the server listens. */
  readonly server: SocketAddress;
  /** TLS when given. */
  readonly tls?: {
    /** The name in the certificate; the system's authorities vouch for it. */
    readonly serverName?: string;
    /**
     * Looks at the server's certificate (DER) instead, where it is pinned and not vouched for: null when it is the right one, else the
     * sentence why not.
     */
    readonly checkCertificate?: (der: Uint8Array) => string | null;
    /** What to ask for by ALPN (RFC 7301), where the port serves more than STUN: "stun.turn" (RFC 7443). */
    readonly alpn?: string;
  };
  /** Which of our addresses to come from; the system chooses unless given. */
  readonly localIp?: string;
  /** What may wait to be sent; 1 MiB unless given. Data that is fresh or worthless wants less. */
  readonly maxQueuedBytes?: number;
  /** A message, whole and without padding. Called from the event loop. */
  readonly onMessage: (data: Uint8Array) => void;
  /** The connection is gone, not by {@link StunStream.close}; once at most. */
  readonly onClosed: (reason: string) => void;
  /** Gives up the connection while it is being made. */
  readonly signal?: AbortSignal;
  /** For the connection and the TLS handshake together; 10 s unless given. */
  readonly timeoutMs?: Millis;
}

/** A connection that carries STUN messages and ChannelData, each whole (RFC 8656 §12.5). */
export interface StunStream {
  /** Our end: with the server's address and the protocol, the 5-tuple of an allocation. */
  readonly local: SocketAddress;
  /** Writes messages, padded, in one piece. One that finds more than `maxQueuedBytes` waiting is dropped, as a network drops: false. */
  send(...messages: readonly Uint8Array[]): boolean;
  /** What was written goes out first, for half a second at most. */
  close(): void;
}

const CONNECT_TIMEOUT_MS = 10_000;
const MAX_QUEUED_BYTES = 1_048_576;
const CLOSE_LINGER_MS = 500;

/**
 * Connects. Feed what it receives to {@link TurnClient.handleDatagram}, and send what {@link TurnClient.pollTransmit} and
 * {@link TurnClient.send} give.
 * @throws StunStreamError
 */
export async function connectStunStream(options: StunStreamOptions): Promise<StunStream> {
  const socket = await open(options);
  const { localAddress, localPort } = socket;
  if (localAddress === undefined || localPort === undefined) {
    socket.destroy();
    throw new StunStreamError("refused", `the connection to ${options.server} ended as it began`);
  }
  const deframer = new StreamDeframer(MAX_STREAM_MESSAGE_BYTES);
  let closed = false;
  const end = (reason: string): void => {
    if (closed) return;
    closed = true;
    socket.destroy();
    options.onClosed(reason);
  };
  socket.setNoDelay(true);
  socket.on("data", (chunk: Uint8Array) => {
    if (closed) return;
    deframer.push(chunk, (message) => {
      if (!closed) options.onMessage(message);
    });
    if (deframer.fault) end(`what ${options.server} sends is neither STUN nor ChannelData`);
  });
  socket.on("error", (error: Error) => end(`the connection to ${options.server} broke: ${error.message}`));
  socket.on("close", () => end(`${options.server} closed the connection`));
  return {
    local: SocketAddress.of(localAddress.replace(/%.*$/, ""), localPort),
    send: (...messages) => {
      if (closed || !socket.writable || socket.writableLength > (options.maxQueuedBytes ?? MAX_QUEUED_BYTES))
        return false;
      socket.write(frameForStream(messages));
      return true;
    },
    close: () => {
      if (closed) return;
      closed = true;
      socket.end();
      const linger = setTimeout(() => socket.destroy(), CLOSE_LINGER_MS);
      socket.once("close", () => clearTimeout(linger));
    },
  };
}

function open({ server, tls, localIp, signal, timeoutMs = CONNECT_TIMEOUT_MS }: StunStreamOptions): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const { ip: host, port } = server;
    const fail = (error: StunStreamError): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      socket.destroy();
      reject(error);
    };
    const onAbort = (): void =>
      fail(new StunStreamError("aborted", `the connection to ${server} is not wanted any more`));
    const done = (): void => {
      const complaint = tls?.checkCertificate ? examine(socket as TLSSocket, tls.checkCertificate) : null;
      if (complaint !== null) return fail(new StunStreamError("untrusted", `${server}: ${complaint}`));
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      socket.removeListener("error", onError);
      resolve(socket);
    };
    const onError = (error: NodeJS.ErrnoException): void => {
      const code = tls && /CERT|SELF_SIGNED|ISSUER|ALTNAME/.test(error.code ?? "") ? "untrusted" : "refused";
      fail(new StunStreamError(code, `no connection to ${server}: ${error.message}`, error));
    };
    const from = { host, port, ...(localIp !== undefined && { localAddress: localIp }) };
    const asked = {
      ...(tls?.serverName !== undefined && { servername: tls.serverName }),
      ...(tls?.alpn !== undefined && { ALPNProtocols: [tls.alpn] }),
    };
    const socket: Socket = tls
      ? connectTls({ ...from, ...asked, rejectUnauthorized: !tls.checkCertificate, minVersion: "TLSv1.2" }, done)
      : connectTcp(from, done);
    socket.on("error", onError);
    const timer = setTimeout(() => {
      fail(new StunStreamError("timeout", `no connection to ${server} within ${timeoutMs} ms`));
    }, timeoutMs);
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted) onAbort();
  });
}

function examine(socket: TLSSocket, check: (der: Uint8Array) => string | null): string | null {
  const { raw } = socket.getPeerCertificate();
  return raw ? check(raw) : "it shows no certificate";
}
