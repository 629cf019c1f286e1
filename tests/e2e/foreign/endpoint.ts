/** A QUIC endpoint on a UDP socket of its own, as small as can be: for peers that behave otherwise than our programs would. */
import { systemRandom } from "@adit/core";
import { Identity, QuicConfig, type QuicConnection, QuicEndpoint, type QuicStream } from "@adit/quic";
import { FrameReader, SIGNALING_ALPN } from "@adit/signaling";

/** QUIC's timers are looked at this often. */
const TICK_MS = 5;

export const identity = Identity.generate(systemRandom);

const configFor = (role: "client" | "server") =>
  QuicConfig.create({ role, identity, alpn: SIGNALING_ALPN, maxIdleTimeoutMs: 10_000 });

/** One JSON line: what the scenario waits for. */
export const say = (event: string, fields: object = {}) =>
  console.log(JSON.stringify({ time: Date.now(), event, ...fields }));

export interface Handlers {
  /** The handshake is over (client), or the peer opened a stream (server). */
  onReady(connection: QuicConnection, stream: QuicStream): void;
  /** The payload of one signaling frame. */
  onFrame(payload: Uint8Array, connection: QuicConnection, stream: QuicStream): void;
  onClosed(close: { by: string; code: number; reason: string }): void;
}

/** A client of `address`, or, if there is none, a server on `listen`. */
export async function run(
  o: { listen: string; port: number; address?: { host: string; port: number } },
  handlers: Handlers,
) {
  const endpoint = new QuicEndpoint({ random: systemRandom, ...(o.address ? {} : { server: configFor("server") }) });
  const socket = await Bun.udpSocket({
    hostname: o.listen,
    port: o.port,
    socket: {
      data: (_socket, data, port, host) => {
        receive(new Uint8Array(data), { host, port });
      },
      error: () => {}, // a port that is closed: QUIC's own timers say so
    },
  });
  const local = { host: o.listen, port: socket.port };
  const out = new Uint8Array(1500);
  const seen = new Set<QuicConnection>();

  function receive(data: Uint8Array, remote: { host: string; port: number }): void {
    const now = performance.now();
    const route = endpoint.route(data);
    if (route.kind === "drop") return;
    const connection =
      route.kind === "connection" ? route.connection : endpoint.accept(now, route.header, local, remote);
    if (!connection) return;
    connection.recv(now, data, local, remote);
    seen.add(connection);
    drain();
  }

  function drain(): void {
    for (const connection of seen) {
      for (let event = connection.pollEvent(); event; event = connection.pollEvent()) {
        if (event.type === "established" && o.address) begin(connection, connection.openStream());
        if (event.type === "stream") begin(connection, event.stream);
        if (event.type === "closed") handlers.onClosed(event);
      }
      for (let packet = connection.send(out); packet; packet = connection.send(out)) {
        socket.send(out.subarray(0, packet.length), packet.remote.port, packet.remote.host);
      }
    }
  }

  function begin(connection: QuicConnection, stream: QuicStream): void {
    const frames = new FrameReader();
    const into = new Uint8Array(65_536);
    stream.onReadable = () => {
      for (let n = stream.read(into); typeof n === "number"; n = stream.read(into)) {
        for (const payload of frames.frames(into.subarray(0, n))) handlers.onFrame(payload, connection, stream);
      }
    };
    handlers.onReady(connection, stream);
  }

  if (o.address) {
    seen.add(endpoint.connect(performance.now(), { config: configFor("client"), local, remote: o.address }));
    drain();
  }
  setInterval(() => {
    const now = performance.now();
    for (const connection of seen) {
      const deadline = connection.pollTimeout(now);
      if (deadline && deadline.at <= now) connection.handleTimeout(now);
    }
    drain();
  }, TICK_MS);
  return local;
}
