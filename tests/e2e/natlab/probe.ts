/**
 * Finding out what a NAT does, in the manner of RFC 5780 but independent of the programs under test: a server with two
 * addresses and two ports says from where it heard, and answers from where it is asked to. The lab believes no result
 * before its NATs have been found to be what they are called.
 */
import { createSocket, type Socket } from "node:dgram";
import type { NatFiltering, NatMapping } from "@adit/sim";

export const PROBE_PORTS = [3478, 3479] as const;

interface Question {
  readonly id: number;
  /** From which of the server's addresses, and ports, the answer is to come. */
  readonly ip: 0 | 1;
  readonly port: 0 | 1;
}

export interface NatFindings {
  readonly mapping: NatMapping;
  readonly filtering: NatFiltering;
  readonly preserving: boolean;
  /** Whether two sockets behind it reached each other by their external addresses. */
  readonly hairpin: boolean;
  /** External ports in the order in which mappings were made. */
  readonly externalPorts: readonly number[];
}

const ANSWER_MS = 250;

async function bound(port: number, address: string): Promise<Socket> {
  const socket = createSocket("udp4");
  await new Promise<void>((resolve, reject) => socket.once("error", reject).bind(port, address, resolve));
  return socket;
}

/** Once it returns, answers until the process ends. */
export async function serveProbes(ips: readonly [string, string]): Promise<void> {
  const sockets = await Promise.all(ips.map((ip) => Promise.all(PROBE_PORTS.map((port) => bound(port, ip)))));
  for (const socket of sockets.flat()) {
    socket.on("message", (data, { address, port }) => {
      const question = JSON.parse(data.toString()) as Question;
      const answer = JSON.stringify({ id: question.id, seen: `${address}:${port}` });
      sockets[question.ip]?.[question.port]?.send(answer, port, address);
    });
  }
}

/** Asks through the NAT that is in the way. `timesRtt` stretches the waiting for links that are slow. */
export async function classify(ips: readonly [string, string], rttMs: number): Promise<NatFindings> {
  const [seen, preserving] = await mappingsSeen(ips, rttMs);
  const [first, otherPort, otherIp] = seen;
  const mapping = first === otherIp ? (first === otherPort ? "EIM" : "APDM") : first === otherPort ? "ADM" : "APDM";
  const externalPorts = seen.map((address) => Number(address.split(":")[1]));
  return {
    mapping,
    filtering: await filteringSeen(ips, rttMs),
    preserving,
    hairpin: await hairpinSeen(ips, rttMs),
    externalPorts,
  };
}

type Asker = (to: { ip: 0 | 1; port: 0 | 1 }, from: { ip: 0 | 1; port: 0 | 1 }) => Promise<string | null>;

async function withSocket<T>(
  ips: readonly [string, string],
  rttMs: number,
  use: (ask: Asker, port: number, socket: Socket) => Promise<T>,
): Promise<T> {
  const socket = await bound(0, "0.0.0.0");
  let id = 0;
  const ask: Asker = (to, from) =>
    new Promise((resolve) => {
      const question: Question = { id: ++id, ...from };
      const timer = setTimeout(() => done(null), ANSWER_MS + 2 * rttMs);
      const heard = (data: Buffer) => {
        if (data.toString() === HELLO) return;
        const answer = JSON.parse(data.toString()) as { id: number; seen: string };
        if (answer.id === question.id) done(answer.seen);
      };
      const done = (seen: string | null) => {
        clearTimeout(timer);
        socket.off("message", heard);
        resolve(seen);
      };
      socket.on("message", heard);
      socket.send(JSON.stringify(question), PROBE_PORTS[to.port], ips[to.ip]);
    });
  try {
    return await use(ask, socket.address().port, socket);
  } finally {
    socket.close();
  }
}

/** How the server's endpoints saw one socket, and whether its port was kept. @throws when there is no answer at all. */
function mappingsSeen(ips: readonly [string, string], rttMs: number): Promise<readonly [readonly string[], boolean]> {
  return withSocket(ips, rttMs, async (ask, localPort) => {
    const seen: string[] = [];
    for (const at of [
      { ip: 0, port: 0 },
      { ip: 0, port: 1 },
      { ip: 1, port: 0 },
    ] as const) {
      const answer = await ask(at, at);
      if (answer === null) throw new Error(`${ips[at.ip]}:${PROBE_PORTS[at.port]} does not answer`);
      seen.push(answer);
    }
    return [seen, seen.every((address) => address.endsWith(`:${localPort}`))] as const;
  });
}

/** A new socket, which has sent to one endpoint of the server only. */
function filteringSeen(ips: readonly [string, string], rttMs: number): Promise<NatFiltering> {
  return withSocket(ips, rttMs, async (ask) => {
    const asked = { ip: 0, port: 0 } as const;
    if ((await ask(asked, { ip: 1, port: 1 })) !== null) return "EIF";
    if ((await ask(asked, { ip: 0, port: 1 })) !== null) return "ADF";
    return "APDF";
  });
}

const HELLO = '"hello"';
const HELLOS = 3;

/** Two sockets send to how the server sees the other one, both several times, so that each opens its filter for the other. */
function hairpinSeen(ips: readonly [string, string], rttMs: number): Promise<boolean> {
  const asked = { ip: 0, port: 0 } as const;
  return withSocket(ips, rttMs, (askOne, _, one) =>
    withSocket(ips, rttMs, async (askOther, __, other) => {
      const [seenOne, seenOther] = [await askOne(asked, asked), await askOther(asked, asked)];
      if (seenOne === null || seenOther === null) throw new Error("the server does not answer");
      let heard = false;
      for (const socket of [one, other]) socket.on("message", (data) => (heard ||= data.toString() === HELLO));
      for (let i = 0; i < HELLOS && !heard; i++) {
        sendTo(one, seenOther);
        sendTo(other, seenOne);
        await Bun.sleep(20 + rttMs);
      }
      return heard;
    }),
  );
}

function sendTo(socket: Socket, address: string): void {
  const [ip, port] = address.split(":");
  socket.send(HELLO, Number(port), ip);
}
