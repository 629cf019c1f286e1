import { createSocket } from "node:dgram";
import { once } from "node:events";
import { nullLogger, SocketAddress, utf8 } from "@adit/core";
import { isBun, type T, test } from "@adit/harness";
import { Datagrams, type Exposure, type Flow } from "@adit/program";
import { FakeFlow } from "@adit/program/testing";
import { bindUdp } from "@adit/transport";
import { type FlowRequest, UdpServices } from "../src/udp-services.ts";

interface Server {
  readonly exposure: Exposure;
  /** The sources that spoke to it. */
  readonly sources: Set<number>;
}

/** Answers each datagram in upper case; `big` with one too large, `elsewhere` from another port. */
async function server(t: T): Promise<Server> {
  const socket = createSocket("udp4").bind(0, "127.0.0.1");
  await once(socket, "listening");
  const other = createSocket("udp4");
  t.teardown(() => socket.close());
  t.teardown(() => other.close());
  const sources = new Set<number>();
  socket.on("message", (data, from) => {
    sources.add(from.port);
    const text = data.toString();
    if (text === "elsewhere") other.send("from elsewhere", from.port, from.address);
    socket.send(text === "big" ? "x".repeat(1201) : text.toUpperCase(), from.port, from.address);
  });
  return {
    exposure: { service: "dns", protocol: "udp", host: "127.0.0.1", port: socket.address().port },
    sources,
  };
}

function world(t: T, bounds: { maxFlows?: number; maxFlowsPerPeer?: number } = {}) {
  const clock = { time: 0, now: () => clock.time };
  const events: { event: string; fields: Record<string, unknown> }[] = [];
  const note = (event: string, fields = {}) => void events.push({ event, fields });
  const datagrams = new Datagrams();
  const log = { ...nullLogger, info: note, warn: note };
  const services = new UdpServices({ datagrams, log, idleMs: 1000, clock, ...bounds });
  t.teardown(() => services.close());
  const ask = async (exposure: Exposure, peer = "peer", accept?: () => Promise<Flow>) => {
    const flow = new FakeFlow();
    const refused: string[] = [];
    const request: FlowRequest = {
      session: { peer: { id: peer } },
      name: exposure.service,
      acceptFlow: accept ?? (async () => flow),
      refuse: async (code, reason) => void refused.push(`${code}: ${reason}`),
    };
    await services.serve(request, exposure);
    return { flow, refused };
  };
  return { clock, services, datagrams, events, ask };
}

const say = (flow: FakeFlow, text: string): void => flow.onDatagram?.(utf8(text));

/** The texts that the flow was given to send, once there are so many. */
async function heard(flow: FakeFlow, count: number): Promise<string[]> {
  while (flow.sent.length < count) await new Promise((resolve) => setTimeout(resolve, 2));
  return flow.sent.map((data) => new TextDecoder().decode(data));
}

test("each flow has a socket of its own towards the service", async (t) => {
  const { exposure, sources } = await server(t);
  const { ask, datagrams } = world(t);
  const [one, two] = [await ask(exposure), await ask(exposure)];
  say(one.flow, "a");
  say(two.flow, "b");
  t.same([await heard(one.flow, 1), await heard(two.flow, 1)], [["A"], ["B"]]);
  t.equal(sources.size, 2);
  const { flows, sentDatagrams, receivedDatagrams } = datagrams.status();
  t.same({ flows, sentDatagrams, receivedDatagrams }, { flows: 2, sentDatagrams: 2, receivedDatagrams: 2 });
});

test("answers that are too large, or come from elsewhere, are dropped and counted", async (t) => {
  const { exposure } = await server(t);
  const { ask, datagrams } = world(t);
  const { flow } = await ask(exposure);
  say(flow, "big");
  say(flow, "elsewhere");
  say(flow, "end");
  t.same(await heard(flow, 2), ["ELSEWHERE", "END"]);
  while ((datagrams.status().dropped.stranger ?? 0) === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  t.same(datagrams.status().dropped, { "too-large": 1, stranger: 1 });
});

test("an idle flow is closed with its socket; one that moves is not", async (t) => {
  const { exposure } = await server(t);
  const { clock, services, ask, events, datagrams } = world(t);
  const [idle, busy] = [await ask(exposure), await ask(exposure)];
  clock.time = 600;
  say(busy.flow, "a");
  await heard(busy.flow, 1);
  clock.time = 1000;
  services.expire();
  t.same([idle.flow.isClosed, busy.flow.isClosed], [true, false]);
  t.equal(datagrams.status().flows, 1);
  t.equal(events.filter(({ event, fields }) => event === "flow-close" && fields.reason === "idle").length, 1);
});

test("beyond its share a peer is refused, and others are not; room that is given back is there again", async (t) => {
  const { exposure } = await server(t);
  const { ask } = world(t, { maxFlows: 3, maxFlowsPerPeer: 2 });
  const first = await ask(exposure, "a");
  t.same((await ask(exposure, "a")).refused, []);
  t.match(t.must((await ask(exposure, "a")).refused[0]), /^too-many: /);
  t.same((await ask(exposure, "b")).refused, []);
  t.match(t.must((await ask(exposure, "c")).refused[0]), /^too-many: /);
  first.flow.end();
  t.same((await ask(exposure, "a")).refused, []);
});

test("a peer that gave up meanwhile leaves nothing behind", async (t) => {
  const { exposure } = await server(t);
  const { ask, datagrams } = world(t, { maxFlowsPerPeer: 1 });
  const gone = async (): Promise<Flow> => {
    throw new Error("the stream was reset");
  };
  for (let i = 0; i < 3; i++) t.same((await ask(exposure, "peer", gone)).refused, []);
  t.equal(datagrams.status().flows, 0);
});

test("a host that has no address is unavailable", async (t) => {
  const { ask } = world(t);
  const { refused } = await ask({ service: "dns", protocol: "udp", host: "host.invalid", port: 53 });
  t.match(t.must(refused[0]), /^service-unavailable: dns cannot be reached/);
});

test(
  "a service that nothing answers at (ICMP unreachable) is counted and warned of once, and the flow goes on when it is back",
  async (t) => {
    const socket = await bindUdp({
      address: SocketAddress.of("127.0.0.1", 0),
      handlers: { onBatch: () => {}, onDrain: () => {} },
    });
    const { address } = socket;
    socket.close();
    const { ask, datagrams, events } = world(t);
    const { flow } = await ask({ service: "dns", protocol: "udp", host: address.ip, port: address.port });
    for (let i = 0; (datagrams.status().dropped.unreachable ?? 0) < 2; i++) {
      if (i > 500) t.fail("nothing was noticed");
      say(flow, "anybody?");
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    t.equal(
      events.filter(({ event, fields }) => fields.reason === "unreachable" && event === "service-unavailable").length,
      1,
    );
    const back = createSocket("udp4").bind(address.port, address.ip);
    t.teardown(() => back.close());
    await once(back, "listening");
    const got = once(back, "message");
    const asking = setInterval(() => say(flow, "back?"), 5);
    t.teardown(() => clearInterval(asking));
    t.equal(String((await got)[0]), "back?");
    clearInterval(asking);
  },
  { skip: isBun ? false : "Node does not tell an unconnected socket of ICMP errors; the programs run on Bun" },
);
