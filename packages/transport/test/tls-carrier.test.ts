import { createServer, type Server, type TLSSocket, type TlsOptions } from "node:tls";
import { SocketAddress } from "@adit/core";
import { type T, test } from "@adit/harness";
import { Identity, peerIdFromCertificate } from "@adit/quic";
import { SIGNALING_ALPN } from "@adit/signaling";
import type { CarrierEvent } from "../src/carrier/carrier.ts";
import { TlsCarrier } from "../src/carrier/tls-carrier.ts";

const server = Identity.generate();
const client = Identity.generate();

async function listen(t: T, options: TlsOptions, onClient: (socket: TLSSocket) => void): Promise<SocketAddress> {
  const listener: Server = createServer({ requestCert: true, rejectUnauthorized: false, ...options }, onClient);
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  t.teardown(() => void listener.close());
  return SocketAddress.of("127.0.0.1", (listener.address() as { port: number }).port);
}

/** The next event of a carrier, which calls `wake` when it has one. */
function watch(t: T, remote: SocketAddress) {
  let awake = (): void => {};
  const carrier = TlsCarrier.dial({ remote, localIp: "127.0.0.2", identity: client, wake: () => awake() });
  t.teardown(() => carrier.abort());
  const until = async <R>(ask: () => R | null): Promise<R> => {
    for (;;) {
      const answer = ask();
      if (answer !== null) return answer;
      await new Promise<void>((resolve) => {
        awake = resolve;
      });
    }
  };
  return { carrier, until, event: (): Promise<CarrierEvent> => until(() => carrier.pollEvent()) };
}

const identityOptions = { cert: server.certificatePem, key: server.keyPem, ALPNProtocols: [SIGNALING_ALPN] };

test("both ends prove their Ed25519 keys, and bytes go both ways", async (t) => {
  const seen: { peerId: string | null; from: string | undefined }[] = [];
  const remote = await listen(t, identityOptions, (socket) => {
    seen.push({ peerId: peerIdFromCertificate(socket.getPeerCertificate().raw), from: socket.remoteAddress });
    socket.on("data", (chunk) => socket.write(chunk));
    socket.on("error", () => {});
  });
  const { carrier, until, event } = watch(t, remote);
  t.same(await event(), { type: "established", peerId: server.peerId });
  t.equal(carrier.write(new TextEncoder().encode("hello")), 5);
  const buffer = new Uint8Array(16);
  const read = await until(() => {
    const result = carrier.read(buffer);
    return result === "blocked" ? null : result;
  });
  t.equal(new TextDecoder().decode(buffer.subarray(0, Number(read))), "hello");
  t.same(seen, [{ peerId: client.peerId, from: "127.0.0.2" }]);
});

test("what speaks TLS and is no intermediate is said to be none", async (t) => {
  const remote = await listen(t, { cert: server.certificatePem, key: server.keyPem }, (socket) => {
    socket.on("error", () => {});
  });
  t.same(await watch(t, remote).event(), { type: "closed", reason: "what answers there is no intermediate" });
});

test("a port where nobody listens is a close with a reason, not an exception", async (t) => {
  const remote = await listen(t, identityOptions, () => {});
  const event = await watch(t, remote.withPort(1)).event();
  t.equal(event.type, "closed");
});

test("who does not read is not written to: what waits is bounded", async (t) => {
  const remote = await listen(t, identityOptions, (socket) => {
    socket.pause();
    socket.on("error", () => {});
  });
  const { carrier, event } = watch(t, remote);
  await event();
  const chunk = new Uint8Array(65_536);
  let taken = 0;
  // Kernel buffers take some megabytes at most; then nothing is taken any more.
  for (let i = 0; i < 1_000; i++) taken += carrier.write(chunk);
  t.ok(taken < 1_000 * chunk.length, `${taken} bytes were taken`);
});
