/** The driver over real sockets on loopback, where each test's router has an address of its own. */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { SocketAddress } from "@adit/core";
import { isBun, type T, test } from "@adit/harness";
import { createIceConnection, PortMapping, type PortMappingOptions, type PortMapReport } from "../src/index.ts";
import { FakeRouter, type RouterSetting } from "./portmap-router.ts";

/** All of 127.0.0.0/8 is loopback there; elsewhere only 127.0.0.1 is, whose ports are not ours to take. */
const OPTIONS = {
  skip: process.platform === "linux" ? (false as const) : "127.0.0.0/8 is wholly loopback on Linux only",
};

const anyLoopback = (): string => `127.${[0, 0, 0].map(() => 1 + Math.floor(Math.random() * 250)).join(".")}`;

interface Setup {
  readonly gateway: string;
  readonly router: FakeRouter;
  /** The sockets of the router; a test that counts what remains ends them itself. */
  end(): Promise<void>;
}

async function setUp(t: T, setting: Partial<RouterSetting>, http?: Server): Promise<Setup> {
  const gateway = anyLoopback();
  const router = new FakeRouter(setting, gateway);
  const web = http ?? routerWeb(router);
  web.listen(0, gateway);
  await once(web, "listening");
  const { port } = web.address() as { port: number };
  router.setting.location = `http://${gateway}:${port}/root.xml`;
  const sockets = await Promise.all([5351, 1900].map((port) => listen(router, gateway, port)));
  let ended = false;
  const end = async (): Promise<void> => {
    if (ended) return;
    ended = true;
    for (const socket of sockets) socket.close();
    web.closeAllConnections?.();
    await new Promise((resolve) => web.close(resolve));
  };
  t.teardown(end);
  return { gateway, router, end };
}

async function listen(router: FakeRouter, gateway: string, port: number): Promise<Socket> {
  const socket = createSocket("udp4");
  socket.on("message", (data, from) => {
    const answer = router.datagram(performance.now(), SocketAddress.of(gateway, port), Uint8Array.from(data));
    if (answer) socket.send(answer.data, from.port, from.address);
  });
  await new Promise<void>((resolve, reject) => socket.once("error", reject).bind(port, gateway, () => resolve()));
  return socket;
}

function routerWeb(router: FakeRouter): Server {
  return createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const url = new URL(request.url ?? "/", "http://router");
    const headers = { SOAPAction: String(request.headers.soapaction ?? "") };
    const method = request.method === "GET" ? "GET" : "POST";
    const answer = router.http(performance.now(), { method, url, headers, body });
    if (!answer) response.destroy();
    else response.writeHead(answer.status, { "Content-Type": "text/xml" }).end(answer.body);
  });
}

/** Until the report is as wanted. */
function reached(
  options: PortMappingOptions,
  wanted: (report: PortMapReport) => boolean,
): { mapping: PortMapping; report: Promise<PortMapReport> } {
  let resolve: (report: PortMapReport) => void = () => {};
  const report = new Promise<PortMapReport>((done) => {
    resolve = done;
  });
  const mapping = new PortMapping({ ...options, onChange: (now) => wanted(now) && resolve(now) });
  return { mapping, report };
}

for (const protocol of ["pcp", "nat-pmp", "upnp"] as const) {
  test(
    `${protocol} over real sockets: mapped, removed on close, and nothing remains open`,
    async (t) => {
      const setting = { pcp: protocol === "pcp", natPmp: protocol === "nat-pmp", upnp: protocol === "upnp" };
      const { gateway, router, end } = await setUp(t, setting);
      const before = openResources();
      const { mapping, report } = reached({ internalPort: 40_000, gateway }, ({ lease }) => lease !== null);
      const { lease } = await report;
      t.equal(lease?.protocol, protocol);
      t.equal(lease?.external.key, "11.0.0.10:40000");
      t.equal(router.standing(performance.now()).length, 1);
      await mapping.close();
      await mapping.close();
      t.same(router.standing(performance.now()), [], "removed");
      await end();
      if (!isBun) t.ok(openResources() <= before, `${before} open before, ${openResources()} after`);
    },
    OPTIONS,
  );
}

/** UDP sockets and timers that would keep the process alive. */
function openResources(): number {
  const kinds = ["UDPWRAP", "UDPSocket", "Timeout"];
  return isBun ? 0 : process.getActiveResourcesInfo().filter((kind) => kinds.includes(kind)).length;
}

test(
  "a router that says nothing: closing takes no longer than it must",
  async (t) => {
    const gateway = anyLoopback();
    const mapping = new PortMapping({ internalPort: 40_000, gateway });
    await new Promise((resolve) => setTimeout(resolve, 50));
    t.equal(mapping.report.lease, null);
    const began = performance.now();
    await mapping.close();
    t.ok(performance.now() - began < 900, "there is nothing to give back");
  },
  OPTIONS,
);

test(
  "a description without end, and one that goes elsewhere, are none",
  async (t) => {
    const asked: string[] = [];
    const endless = createServer((_request, response) => {
      asked.push("endless");
      response.writeHead(200);
      const more = (): void => {
        while (!response.destroyed && response.write("x".repeat(16_384))) {}
      };
      response.on("drain", more);
      more();
    });
    const redirecting = createServer((request, response) => {
      asked.push(request.url ?? "");
      response.writeHead(302, { Location: "/elsewhere" }).end();
    });
    await Promise.all(
      [endless, redirecting].map(async (web) => {
        const { gateway } = await setUp(t, { pcp: false, natPmp: false }, web);
        const options = { internalPort: 40_000, gateway, protocols: ["upnp"] } as const;
        const { mapping, report } = reached(options, ({ isSettled }) => isSettled);
        const [found] = (await report).protocols;
        t.equal(found?.status.kind, "absent");
        await mapping.close();
      }),
    );
    t.same(asked.sort(), ["/root.xml", "endless"], "a redirect is not followed");
  },
  OPTIONS,
);

test(
  "a socket that is bound elsewhere than to the way to the router has no mapping, and says why",
  async (t) => {
    const { gateway } = await setUp(t, {});
    const options = { internalPort: 40_000, gateway, boundIp: "192.0.2.1" };
    const { mapping, report } = reached(options, ({ isSettled, gateway }) => isSettled && gateway !== null);
    t.same((await report).protocols, []);
    await mapping.close();
  },
  OPTIONS,
);

test("an IceConnection on loopback asks no router", async (t) => {
  const connection = await createIceConnection({ role: "controlling", bind: ["127.0.0.1"], portMapping: true });
  t.teardown(() => connection.close());
  const began = performance.now();
  await connection.close();
  t.ok(performance.now() - began < 900);
});
