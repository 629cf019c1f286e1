import { once } from "node:events";
import { createServer, type Server, Socket } from "node:net";
import { nullLogger } from "@adit/core";
import { type T, test } from "@adit/harness";
import { type ByteStream, Datagrams, exposure, Streams } from "@adit/program";
import { type Dialing, type ServiceRequest, Services } from "../src/services.ts";
import { UdpServices } from "../src/udp-services.ts";

/** A stream whose peer says `text` and ends, and which keeps what comes back. */
class ScriptedStream implements ByteStream {
  onReadable: (() => void) | null = null;
  onWritable: (() => void) | null = null;
  onClosed: ((error: Error | null) => void) | null = null;
  got = "";
  finished = false;
  resetBy: number | null = null;
  #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  read(into: Uint8Array): number | "blocked" | "end" {
    if (this.#text === "") return "end";
    const { written } = new TextEncoder().encodeInto(this.#text, into);
    this.#text = "";
    return written;
  }

  write(data: Uint8Array): number {
    this.got += Buffer.from(data);
    return data.length;
  }

  finish(): void {
    this.finished = true;
  }

  reset(code: number): void {
    this.resetBy = code;
  }

  stopSending(_code: number): void {}
}

/** One whose peer speaks only when it has heard all that the service has to say. */
class LateStream extends ScriptedStream {
  override read(into: Uint8Array): number | "blocked" | "end" {
    return this.finished ? super.read(into) : "blocked";
  }

  override finish(): void {
    super.finish();
    setImmediate(() => this.onReadable?.());
  }
}

/** A TCP server that answers everything it was sent, in capitals, once its client has ended. */
async function makeServer(t: T): Promise<{ server: Server; port: number }> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk;
    });
    socket.on("end", () => socket.end(text.toUpperCase()));
    socket.on("error", () => {});
  }).listen(0, "127.0.0.1");
  t.teardown(() => server.close());
  await once(server, "listening");
  const address = server.address();
  return { server, port: typeof address === "object" && address ? address.port : 0 };
}

function makeServices(t: T, exposed: readonly string[], dialing?: Dialing) {
  const events: { event: string; fields: Record<string, unknown> }[] = [];
  const note = (event: string, fields = {}) => void events.push({ event, fields });
  const log = { ...nullLogger, info: note, warn: note };
  const exposures = exposed.map((text) => t.must(exposure.parse(text)));
  const udp = new UdpServices({ datagrams: new Datagrams(), log, idleMs: 120_000 });
  return { services: new Services(exposures, new Streams(log), udp, log, dialing), events };
}

function request(name: string, stream: ByteStream | Error, protocol: "tcp" | "udp" = "tcp", peer = "peer") {
  const answers: string[] = [];
  const asked: ServiceRequest = {
    session: { peer: { id: peer } },
    name,
    protocol,
    accept: async () => {
      answers.push("accepted");
      if (stream instanceof Error) throw stream;
      return stream;
    },
    acceptFlow: async () => {
      throw new Error("no flows here");
    },
    refuse: async (code, reason) => void answers.push(`${code}: ${reason}`),
  };
  return { asked, answers };
}

test("a request becomes a TCP connection to the server behind the service, half-close included", async (t) => {
  const { port } = await makeServer(t);
  const { services, events } = makeServices(t, [`web=tcp://127.0.0.1:${port}`]);
  const stream = new ScriptedStream("hello");
  const { asked, answers } = request("web", stream);
  await services.serve(asked);
  t.same(answers, ["accepted"]);
  t.same([stream.got, stream.finished, stream.resetBy], ["HELLO", true, null]);
  t.same(
    events.map(({ event, fields }) => [event, fields.peerId, fields.service, fields.bytes]),
    [
      ["stream-open", "peer", "web", 0],
      ["stream-close", "peer", "web", 10],
    ],
  );
});

test("a service that has said all it has to say still hears its client", async (t) => {
  const server = createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
  t.teardown(() => server.close());
  const heard = new Promise<string>((resolve) => {
    server.once("connection", (socket) => {
      let text = "";
      socket.on("data", (chunk) => {
        text += chunk;
      });
      socket.on("close", () => resolve(text));
      socket.end("welcome");
    });
  });
  await once(server, "listening");
  const address = server.address();
  const { services } = makeServices(t, [`web=tcp://127.0.0.1:${typeof address === "object" && address?.port}`]);
  const stream = new LateStream("thank you");
  await services.serve(request("web", stream).asked);
  t.same([stream.got, await heard, stream.resetBy], ["welcome", "thank you", null]);
});

test("a host name is resolved when it is needed", async (t) => {
  const { port } = await makeServer(t);
  const { services } = makeServices(t, [`web=tcp://localhost:${port}`]);
  const stream = new ScriptedStream("x");
  await services.serve(request("web", stream).asked);
  t.equal(stream.got, "X");
});

test("what is not exposed, of the other protocol, or not answering is refused with a code and a sentence", async (t) => {
  const { server, port } = await makeServer(t);
  server.close();
  await once(server, "close");
  const { services, events } = makeServices(t, [
    `web=tcp://127.0.0.1:${port}`,
    "far=tcp://host.invalid:80",
    "dns=udp://127.0.0.1:53",
  ]);
  const unused = new ScriptedStream("");
  const ask = async (name: string, protocol?: "tcp" | "udp") => {
    const { asked, answers } = request(name, unused, protocol);
    await services.serve(asked);
    return answers;
  };
  t.same(await ask("nosuch"), [
    "service-unknown: this connector exposes no service named nosuch; on its host, add --expose nosuch=tcp://HOST:PORT",
  ]);
  t.match(
    (await ask("constructor"))[0] ?? "",
    /^service-unknown: this connector exposes no service named constructor;/,
  );
  t.same(await ask("web", "udp"), ["service-unavailable: web is a TCP service: --local PORT=web leads to it"]);
  t.same(await ask("dns"), ["service-unavailable: dns is a UDP service: --local udp:PORT=dns leads to it"]);
  t.same(await ask("web"), ["service-unavailable: web does not answer: connection refused"]);
  t.match((await ask("far"))[0] ?? "", /^service-unavailable: far does not answer: the host name /);
  // Where the service stands is for the log of this side only.
  t.ok(events.some(({ fields }) => String(fields.message).includes(`127.0.0.1:${port}`)));
});

test("a server that takes no connection in time is unavailable, and the attempt is given up", async (t) => {
  const socket = new Socket(); // never connects
  const { services } = makeServices(t, ["web=tcp://192.0.2.1:9"], { timeoutMs: 50, connect: () => socket });
  const { asked, answers } = request("web", new ScriptedStream(""));
  await services.serve(asked);
  t.same(answers, ["service-unavailable: web does not answer: no answer within 0.05 s"]);
  t.ok(socket.destroyed);
});

test("a peer that gave up meanwhile leaves no connection to the service behind", async (t) => {
  const { server, port } = await makeServer(t);
  const { services } = makeServices(t, [`web=tcp://127.0.0.1:${port}`]);
  const gone = once(server, "connection").then(([socket]) => new Promise((resolve) => socket.once("close", resolve)));
  await services.serve(request("web", new Error("the stream was reset")).asked);
  await gone;
});

test("beyond its share of connections a peer is refused, over all its sessions, and others are not", async (t) => {
  const dialed: Socket[] = [];
  const dial = () => {
    const socket = new Socket(); // neither connects nor fails until it is told to
    dialed.push(socket);
    return socket;
  };
  const bounds = { maxConnections: 3, maxConnectionsPerPeer: 2, connect: dial };
  const { services, events } = makeServices(t, ["web=tcp://192.0.2.1:9"], bounds);
  t.teardown(() => {
    for (const socket of dialed) socket.destroy();
  });
  const ask = (peer: string) => {
    const { asked, answers } = request("web", new ScriptedStream(""), "tcp", peer);
    return { answers, over: services.serve(asked) };
  };
  const first = ask("a");
  ask("a");
  const third = ask("a");
  t.match(t.must(third.answers[0]), /^too-many: /);
  t.same(ask("b").answers, []);
  t.match(t.must(ask("c").answers[0]), /^too-many: /);
  t.equal(dialed.length, 3);
  t.equal(events.filter(({ event }) => event === "too-many-connections").length, 1, "said once, not each time");
  t.must(dialed[0]).destroy(new Error("refused"));
  await first.over;
  t.same(ask("a").answers, [], "room that is given back is there again");
  t.equal(dialed.length, 4);
});

test("two services of one name and protocol are a usage error; a TCP and a UDP service may share one", (t) => {
  t.ok(makeServices(t, ["dns=tcp://127.0.0.1:53", "dns=udp://127.0.0.1:53"]).services.has("dns"));
  const twice = () => makeServices(t, ["a=tcp://127.0.0.1:1", "a=tcp://127.0.0.1:2"]);
  t.throws(twice, { code: "usage", message: /--expose names the tcp service a twice/ });
});
