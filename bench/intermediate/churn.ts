/**
 * A day's coming and going in minutes: `bun bench/intermediate/churn.ts [--minutes 5] [--rate 150] [--life 4]
 * [--attach ADMIN]`. So many clients a second sign
 * up, stay for some seconds and go, every third without a word; beside them so many TURN allocations are made and given back. What is printed
 * is the intermediate's resident memory over time: after a warm-up it has to stay flat. With
 * `--attach` an intermediate that runs already, and goes on running, is used: several runs, one after the other, see the memory of one process.
 * (It needs --turn-user u:p, and a policy without bounds per address, as program.ts has it.) Loopback only; ends by itself.
 */
import { SocketAddress, seededRandom, systemRandom } from "@adit/core";
import { TurnClient } from "@adit/ice";
import { Identity, QuicConfig } from "@adit/quic";
import { SIGNALING_ALPN } from "@adit/signaling";
import { bindUdp, type UdpSocket } from "@adit/transport";
import { type LoadClient, LoadClients } from "./load-clients.ts";
import { numberOption, RunningIntermediate, sleep, textOption } from "./program.ts";

const minutes = numberOption("minutes", 5);
const rate = numberOption("rate", 150);
const lifeS = numberOption("life", 4);
/** Each comes again and again, as connectors do; the same ones in each run, since their names are theirs. */
const IDENTITIES = 1_500;
const SAMPLE_MS = 5_000;
/** Those that went without a word stay in this process, which does not look after them any more. */
const MAX_CLIENTS = 200_000;

const attach = textOption("attach");
const program =
  attach === undefined
    ? await RunningIntermediate.start(["--turn-user", "u:p"])
    : await RunningIntermediate.attach(attach);
const load = await LoadClients.open(program.address("signaling"), MAX_CLIENTS);
const configs = Array.from({ length: IDENTITIES }, (_, i) =>
  QuicConfig.create({
    role: "client",
    identity: Identity.generate(seededRandom(1_000_000 + i)),
    alpn: SIGNALING_ALPN,
    maxIdleTimeoutMs: 60_000,
  }),
);

/** Makes an allocation and gives it back, over and over, with a new one each time. */
async function relay(until: number): Promise<number> {
  let made = 0;
  let turn: TurnClient | null = null;
  const act = (socket: UdpSocket, work: (now: number) => void): void => {
    work(performance.now());
    for (let out = turn?.pollTransmit(); out; out = turn?.pollTransmit()) socket.send([out]);
  };
  const socket: UdpSocket = await bindUdp({
    address: SocketAddress.of("127.0.0.1", 0),
    handlers: {
      onBatch: (batch) => {
        for (const { data } of batch) act(socket, (now) => turn?.handleDatagram(now, data));
      },
      onDrain: () => {},
    },
  });
  while (performance.now() < until) {
    const server = program.address("stun");
    const credentials = { username: "u", password: "p" };
    turn = new TurnClient({ server, socket: 0, relaySocket: 1000, random: systemRandom, ...credentials });
    const client = turn;
    act(socket, (now) => client.start(now));
    for (let waited = 0; client.state !== "allocated" && waited < 2_000; waited += 5) {
      await sleep(5);
      act(socket, (now) => client.handleTimeout(now));
    }
    if (client.state === "allocated") made++;
    act(socket, (now) => client.close(now));
    await sleep(20);
  }
  socket.close();
  return made;
}

const startedAt = performance.now();
const until = startedAt + minutes * 60_000;
const relays = Array.from({ length: 4 }, () => relay(until));
const living: { readonly client: LoadClient; readonly until: number }[] = [];
const rss: number[] = [];
let [started, signedUp, nextSampleAt] = [0, 0, startedAt + SAMPLE_MS];
while (performance.now() < until) {
  const now = performance.now();
  for (const due = Math.floor(((now - startedAt) / 1000) * rate); started < due; started++) {
    const config = configs[started % IDENTITIES];
    if (config) living.push({ client: load.start(config, `c-${started % IDENTITIES}`), until: now + lifeS * 1000 });
  }
  while (living[0] && living[0].until <= now) {
    const gone = living.shift();
    if (!gone) break;
    if (gone.client.doneMs !== null) signedUp++;
    load.end(gone.client, signedUp % 3 !== 0);
  }
  load.tick();
  if (now >= nextSampleAt) {
    nextSampleAt += SAMPLE_MS;
    rss.push((await program.metrics())("process_resident_memory_bytes") / 2 ** 20);
  }
  await sleep(5);
}
const allocations = (await Promise.all(relays)).reduce((sum, made) => sum + made, 0);
const mean = (from: number, to: number): number => {
  const part = rss.slice(Math.floor(rss.length * from), Math.ceil(rss.length * to));
  return Math.round(part.reduce((sum, value) => sum + value, 0) / part.length);
};
const after = await program.metrics();
console.log(
  JSON.stringify({
    minutes,
    started,
    signedUp,
    allocations,
    rssMiB: { firstThird: mean(0, 1 / 3), secondThird: mean(1 / 3, 2 / 3), lastThird: mean(2 / 3, 1) },
    left: { clients: after("adit_signaling_clients"), allocations: after("adit_turn_allocations") },
  }),
);
await program.stop();
process.exit(0);
