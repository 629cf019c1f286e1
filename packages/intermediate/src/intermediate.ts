/** What `adit-intermediate` does: serves until it is told to end. */

import { join } from "node:path";
import { classifyIp, type Logger, type SocketAddress } from "@adit/core";
import { type AdminServer, type Context, ExitError, type IpPrefix, sentenceOf, startAdmin } from "@adit/program";
import type { Identity } from "@adit/quic";
import { UdpBindError } from "@adit/transport";
import type { UsageStore } from "./accounts.ts";
import { FORMER_CLIENTS_FILE, FormerClientsFile } from "./former-clients.ts";
import { Health } from "./health.ts";
import { type NameStore, NameStoreError } from "./names/name-store.ts";
import { startTrimming } from "./native-memory.ts";
import { PolicyFile } from "./policy-file.ts";
import { RelayAddressError } from "./relay-address.ts";
import { SelfCheck } from "./self-check.ts";
import { Intermediate } from "./server.ts";
import { intermediateMetrics, intermediateStatus, type Listener } from "./status.ts";
import { StunListenError } from "./stun-listeners.ts";
import { TlsFiles } from "./tls-files.ts";
import { startWatchdog } from "./watchdog.ts";

export interface IntermediateValues {
  readonly listen: readonly SocketAddress[];
  /** Nobody named: beside `listen`. */
  readonly signalingTls: readonly (SocketAddress | "off")[];
  readonly stun: readonly SocketAddress[];
  readonly stunTls: readonly SocketAddress[];
  readonly tlsCert: string | undefined;
  readonly tlsKey: string | undefined;
  readonly alternateAddress: string | undefined;
  readonly externalIp: readonly string[];
  readonly relayPorts: { readonly first: number; readonly last: number };
  readonly admin: SocketAddress;
  readonly allowPrivateRelay: boolean;
  readonly relayAllow: readonly IpPrefix[];
  readonly relayDeny: readonly IpPrefix[];
  readonly alternateServer: readonly SocketAddress[];
  /** PeerIds, or `any`; nobody named is any. */
  readonly allow: readonly string[];
  readonly realm: string;
  readonly turnUser: readonly { readonly name: string; readonly password: string }[];
  readonly turnSecret: readonly string[];
  /** Path of the policy file. */
  readonly policy: string | undefined;
  /** Ms. */
  readonly drain: number;
}

/** How often the clients are written down, to be told should the program crash. */
const CLIENTS_WRITE_MS = 2_000;

/** How often the bytes of the day are written down: a crash forgets as much at most. */
const USAGE_WRITE_MS = 10_000;

/** How often names are looked at for what the `names` command has changed. */
const NAMES_CHECK_MS = 1_000;

/** @throws ExitError `usage` when an address cannot be bound, or the options contradict each other. */
export async function intermediate(values: IntermediateValues, identity: Identity, context: Context): Promise<void> {
  const { log } = context;
  checkPorts(values.listen, values.stun);
  const policy = new PolicyFile(values.policy ?? null, log);
  const tls = new TlsFiles(values.tlsCert, values.tlsKey, log);
  const names = await openNames(context.stateDir);
  try {
    await serve(values, { identity, policy, names, tls }, context);
  } finally {
    names.close();
  }
}

interface Opened {
  readonly identity: Identity;
  readonly policy: PolicyFile;
  readonly names: NameStore & UsageStore;
  readonly tls: TlsFiles;
}

async function serve(values: IntermediateValues, opened: Opened, context: Context): Promise<void> {
  const { log, signal } = context;
  const { policy, names } = opened;
  const server = await start(values, opened, log);
  const reload = (): void => {
    policy.reload();
    opened.tls.reload((certificate) => server.setTlsCertificate(certificate));
  };
  const clients = new FormerClientsFile(join(context.stateDir, FORMER_CLIENTS_FILE));
  server.signaling.tellFormer(server.clock.now(), clients.read());
  const watch = setInterval(() => watchNames(names, server, log), NAMES_CHECK_MS);
  const remember = setInterval(() => void clients.write(server.signaling.clients()), CLIENTS_WRITE_MS);
  const save = (): void => saveUsage(server, log);
  const saving = setInterval(save, USAGE_WRITE_MS);
  process.on("SIGHUP", reload);
  const watchdog = await startWatchdog();
  const trimming = await startTrimming();
  const udp = server.stun.udp.map(({ address }) => ({ transport: "udp" as const, address }));
  const selfCheck = new SelfCheck([...udp, { transport: "tcp", address: server.stunAddress }]);
  let admin: AdminServer | null = null;
  try {
    const listeners: Listener[] = [
      ...server.stun.signaling.map(({ address }) => ({ service: "signaling", address: address.key })),
      ...server.stun.signalingTls.map(({ key }) => ({ service: "signaling-tls", address: key })),
      ...server.stun.udp.flatMap(({ address }) => [
        { service: "stun", address: address.key },
        { service: "stun-tcp", address: address.key },
      ]),
      ...server.stun.tls.map((address) => ({ service: "stun-tls", address: address.key })),
    ];
    const health = new Health(server, names, selfCheck);
    admin = await startAdmin(values.admin, {
      health: () => health.check(),
      status: () => intermediateStatus(server, listeners),
      metrics: () => intermediateMetrics(server, { health, policy, tls: opened.tls }),
    });
    listeners.push({ service: "admin", address: admin.address.key });
    announce(server, values, listeners, log);
    await aborted(signal);
    if (values.drain > 0) {
      log.info("draining", { allocations: server.turn.stats.allocations, limitMs: values.drain });
      log.info("drained", { ended: await server.drain(values.drain), allocations: server.turn.stats.allocations });
    }
    health.close();
  } finally {
    selfCheck.close();
    clearInterval(watch);
    clearInterval(remember);
    clearInterval(saving);
    save();
    process.off("SIGHUP", reload);
    watchdog?.stop();
    trimming?.stop();
    server.close();
    await clients.remove();
    await admin?.close();
  }
}

async function openNames(stateDir: string): Promise<NameStore & UsageStore> {
  const { NAMES_FILE, SqliteNameStore } = await import("./names/sqlite-name-store.ts");
  try {
    return SqliteNameStore.open(join(stateDir, NAMES_FILE));
  } catch (error) {
    if (error instanceof NameStoreError) throw new ExitError("usage", error.message, { cause: error });
    throw error;
  }
}

/** The `names` command writes to the same file. */
function watchNames(names: NameStore, server: Intermediate, log: Logger): void {
  try {
    if (names.changedElsewhere()) server.handleNamesChanged();
  } catch (error) {
    log.error("names-unavailable", { message: sentenceOf(error) });
  }
}

function saveUsage({ accounts }: Intermediate, log: Logger): void {
  try {
    accounts.saveUsage();
  } catch (error) {
    if (accounts.usageFailures === 1) log.error("usage-not-written", { message: sentenceOf(error) });
  }
}

async function start(values: IntermediateValues, opened: Opened, log: Logger): Promise<Intermediate> {
  const {
    allow,
    turnUser,
    turnSecret,
    admin,
    tlsCert: _cert,
    tlsKey: _key,
    signalingTls,
    policy: _path,
    drain: _drain,
    ...rest
  } = values;
  const { externalIp: externalIps, alternateServer: alternateServers } = rest;
  const { identity, policy, names, tls } = opened;
  try {
    return await Intermediate.start({
      ...rest,
      signalingTls: signalingTls.length === 0 ? undefined : signalingTls.filter((address) => address !== "off"),
      externalIps,
      alternateServers,
      tlsCertificate: tls.certificate,
      identity,
      allow: allow.length === 0 || allow.includes("any") ? undefined : new Set(allow),
      turnUsers: turnUser,
      turnSecrets: turnSecret,
      otherServices: [admin],
      names,
      usage: names,
      policy: () => policy.current,
      log,
    });
  } catch (error) {
    if (error instanceof UdpBindError || error instanceof RelayAddressError || error instanceof StunListenError) {
      throw new ExitError("usage", error.message, { cause: error });
    }
    throw error;
  }
}

/** On one socket a QUIC packet and ChannelData could not be told from each other. */
function checkPorts(listens: readonly SocketAddress[], stuns: readonly SocketAddress[]): void {
  for (const [listen, stun] of listens.flatMap((listen) => stuns.map((stun) => [listen, stun] as const))) {
    const overlap = listen.ip === stun.ip || [listen, stun].some(({ ip }) => classifyIp(ip) === "unspecified");
    if (listen.port === 0 || listen.port !== stun.port || listen.family !== stun.family || !overlap) continue;
    throw new ExitError("usage", `--listen ${listen.key} and --stun ${stun.key} need different ports`);
  }
}

function announce(server: Intermediate, values: IntermediateValues, listeners: readonly Listener[], log: Logger): void {
  for (const listener of listeners) log.info("listening", { ...listener });
  for (const { reason, doubtful, relayedIp: ip } of server.relayAddresses) {
    log[doubtful ? "warn" : "info"]("relay-address", { ip, message: reason });
  }
  const ips = [
    ...server.stun.signaling.map(({ address }) => address.ip),
    ...server.relayAddresses.map(({ relayedIp }) => relayedIp),
  ];
  if (server.lacksOwnSockets) log.info("runtime-sockets", { message: RUNTIME_SOCKETS });
  const onLoopback = ips.some((ip) => classifyIp(ip) === "loopback");
  if (onLoopback && !values.allowPrivateRelay) log.warn("loopback-relay-denied", { message: ON_ONE_MACHINE });
}

const RUNTIME_SOCKETS =
  "the system refuses epoll or asynchronous I/O (io_setup, io_submit): relaying works, and costs more CPU for a packet; look at the sandbox's " +
  "filter of system calls (@aio) and at fs.aio-max-nr";

const ON_ONE_MACHINE =
  "listening on loopback, but not relaying to loopback addresses: a relay must not be a way into its own host. To try Adit on one " +
  "machine, start this with --allow-private-relay, the agent with --bind 127.0.0.2 and the connector with --bind 127.0.0.3";

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
