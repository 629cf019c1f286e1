import { nullLogger, SocketAddress, utf8 } from "@adit/core";
import { type T, test } from "@adit/harness";
import { Datagrams, type ExitError, type Flow } from "@adit/program";
import { FakeFlow } from "@adit/program/testing";
import { ServiceRefusedError, SessionError } from "@adit/transport";
import { UnknownServices } from "../src/open-on-session.ts";
import { type FlowSession, UdpCarrier } from "../src/udp-carrier.ts";
import { settle } from "./fakes.ts";

const address = (port: number): SocketAddress => SocketAddress.of("127.0.0.1", port);

class Session implements FlowSession {
  readonly peer = { id: "peer" };
  readonly closed: Promise<{ code: string; reason: string }>;
  readonly flows: FakeFlow[] = [];
  readonly asked: string[] = [];
  open: (name: string) => Promise<Flow> = async () => this.flow();
  end: () => void = () => {};

  constructor() {
    this.closed = new Promise((resolve) => {
      this.end = () => resolve({ code: "closed", reason: "test" });
    });
  }

  flow(): FakeFlow {
    const flow = new FakeFlow();
    this.flows.push(flow);
    return flow;
  }

  openFlow(name: string): Promise<Flow> {
    this.asked.push(name);
    return this.open(name);
  }

  close(): void {}
}

function world(t: T, options: { maxFlows?: number; waitMs?: number; services?: string[] } = {}) {
  const clock = { time: 0, now: () => clock.time };
  const events: { event: string; fields: Record<string, unknown> }[] = [];
  const note = (event: string, fields = {}) => void events.push({ event, fields });
  const datagrams = new Datagrams();
  const useless: ExitError[] = [];
  const sessions: Session[] = [new Session()];
  const carrier = new UdpCarrier({
    session: async () => sessions[sessions.length - 1] as Session,
    datagrams,
    log: { ...nullLogger, info: note, warn: note },
    unknown: new UnknownServices(options.services ?? ["dns", "other"], (error) => useless.push(error)),
    idleMs: 1000,
    clock,
    ...options,
  });
  t.teardown(() => carrier.close());
  const sent: string[] = [];
  const source = {
    service: "dns",
    address: address(5353),
    send: (to: SocketAddress, data: Uint8Array) => void sent.push(`${to.port} ${new TextDecoder().decode(data)}`),
  };
  const say = (port: number, text: string) => carrier.handle(source, address(port), utf8(text));
  const got = (flow: FakeFlow | undefined) => flow?.sent.map((data) => new TextDecoder().decode(data)) ?? [];
  return { clock, carrier, datagrams, events, sessions, useless, sent, say, got };
}

test("each local source has a flow of its own, and answers find the way back to it", async (t) => {
  const { say, sessions, got, sent, datagrams } = world(t);
  say(1, "a");
  say(2, "b");
  say(1, "c");
  await settle();
  const [one, two] = t.must(sessions[0]).flows;
  t.same([got(one), got(two)], [["a", "c"], ["b"]]);
  t.must(two?.onDatagram)(utf8("answer"));
  t.same(sent, ["2 answer"]);
  const { flows, sentDatagrams, receivedBytes } = datagrams.status();
  t.same({ flows, sentDatagrams, receivedBytes }, { flows: 2, sentDatagrams: 3, receivedBytes: 6 });
});

test("an idle flow is closed, one that is answered is not, and the source may begin anew", async (t) => {
  const { clock, carrier, say, sessions, events } = world(t);
  say(1, "a");
  say(2, "b");
  await settle();
  const [one, two] = t.must(sessions[0]).flows;
  clock.time = 900;
  t.must(two?.onDatagram)(utf8("still here"));
  clock.time = 1000;
  carrier.expire();
  t.same([one?.isClosed, two?.isClosed], [true, false]);
  t.equal(events.filter(({ event, fields }) => event === "flow-close" && fields.reason === "idle").length, 1);
  say(1, "again");
  await settle();
  t.equal(sessions[0]?.flows.length, 3);
});

test("what is too large, or more than the connection takes, is dropped and counted, and the flow goes on", async (t) => {
  const { say, sessions, got, datagrams } = world(t);
  say(1, "a");
  await settle();
  const flow = t.must(sessions[0]?.flows[0]);
  say(1, "x".repeat(1201));
  flow.answer = "full";
  say(1, "b");
  flow.answer = "sent";
  say(1, "c");
  t.same(got(flow), ["a", "c"]);
  const { dropped, maxPayloadBytes } = datagrams.status();
  t.same(dropped, { "too-large": 1, "queue-full": 1 });
  t.equal(maxPayloadBytes, 1200);
});

test("while a flow is opened a few datagrams wait, and the newest are dropped beyond", async (t) => {
  const { say, sessions, got, datagrams } = world(t);
  for (let i = 0; i < 68; i++) say(1, String(i));
  say(2, "x".repeat(40_000));
  say(2, "y".repeat(40_000));
  await settle();
  t.same(got(sessions[0]?.flows[0]), [...Array(64).keys()].map(String));
  t.same(datagrams.status().dropped, { "waiting-full": 5, "too-large": 1 });
});

test("beyond the bound the flow that was silent longest makes room, also one that is being opened", async (t) => {
  const { clock, say, sessions, datagrams } = world(t, { maxFlows: 2 });
  say(1, "a");
  await settle();
  clock.time = 1;
  say(2, "b");
  clock.time = 2;
  say(3, "c"); // for 1
  clock.time = 3;
  say(4, "d"); // for 2, which is not open yet
  await settle();
  const { flows } = t.must(sessions[0]);
  t.equal(flows[0]?.isClosed, true);
  t.equal(flows.filter((flow) => !flow.isClosed).length, 2);
  t.equal(datagrams.status().flows, 2);
  t.equal(datagrams.status().dropped["no-session"], 1);
});

test("a refused service is not asked for at every datagram, and is asked again later", async (t) => {
  const { clock, say, sessions, datagrams, events, useless } = world(t);
  const session = t.must(sessions[0]);
  session.open = async () => {
    throw new ServiceRefusedError("not-allowed", "not for you");
  };
  say(1, "a");
  await settle();
  say(1, "b");
  t.equal(session.asked.length, 1);
  t.same(datagrams.status().dropped, { refused: 2 });
  t.ok(events.some(({ event, fields }) => event === "service-refused" && fields.code === "not-allowed"));
  session.open = async () => session.flow();
  clock.time = 5001;
  say(1, "c");
  await settle();
  t.equal(session.asked.length, 2);
  t.equal(datagrams.status().sentDatagrams, 1);
  t.same(useless, []);
});

test("a connector that knows none of the services makes the agent useless", async (t) => {
  const { say, sessions, useless } = world(t, { services: ["dns"] });
  t.must(sessions[0]).open = async () => {
    throw new ServiceRefusedError("service-unknown", "no such service");
  };
  say(1, "a");
  await settle();
  t.same(
    useless.map(({ code }) => code),
    ["refused"],
  );
});

test("the end of a session ends its flows; the next datagram opens one in the next session", async (t) => {
  const { say, sessions, got, events } = world(t);
  say(1, "a");
  await settle();
  t.must(sessions[0]?.flows[0]).end(new Error("the session ended"));
  t.ok(events.some(({ event, fields }) => event === "flow-close" && fields.reason === "the session ended"));
  sessions.push(new Session());
  say(1, "b");
  await settle();
  t.same(got(sessions[1]?.flows[0]), ["b"]);
});

test("a session that ends while a flow is opened: the next session gets what waited", async (t) => {
  const { say, sessions, got } = world(t);
  const first = t.must(sessions[0]);
  first.open = async () => {
    sessions.push(new Session());
    first.end();
    throw new SessionError("closed", "the session ended");
  };
  say(1, "a");
  await settle();
  await settle();
  t.same(got(sessions[1]?.flows[0]), ["a"]);
});

test("a flow that does not open in time drops what waited, says so, and a late one is closed", async (t) => {
  const { say, sessions, datagrams, events } = world(t, { waitMs: 20 });
  const session = t.must(sessions[0]);
  const late: ((flow: Flow) => void)[] = [];
  session.open = () => new Promise((resolve) => late.push(resolve));
  say(1, "a");
  while (!events.some(({ event }) => event === "flow-failed")) await settle();
  t.same(datagrams.status().dropped, { "no-session": 1 });
  const flow = new FakeFlow();
  t.must(late[0])(flow);
  await settle();
  t.ok(flow.isClosed);
});

test("closing ends every flow", async (t) => {
  const { carrier, say, sessions, datagrams } = world(t);
  say(1, "a");
  say(2, "b");
  await settle();
  carrier.close();
  t.ok(sessions[0]?.flows.every((flow) => flow.isClosed));
  t.equal(datagrams.status().flows, 0);
});
