/** The three programs, standing in a lab. */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { epochMs } from "../tool/gaps.ts";
import { EXTRAS } from "./extras/index.ts";
import { isIpv6Alone, type PairKind, parsePair, parseSide, type SideKind } from "./kinds.ts";
import { Lab, PROBE_IP6, PROBE_IPS, PUBLIC_NET, RELAY_IP, RELAY_IP6, SECOND_RELAY_IP, type SharedNat } from "./lab.ts";
import { adit, Program, tool } from "./programs.ts";
import type { Side } from "./side.ts";
import type { WireQuality } from "./wire.ts";

export const SERVICE = "127.0.0.1:8080";
export const LOCAL = { host: "127.0.0.1", port: 9000 };
const STATUS_URL = "http://127.0.0.1:9435/status";
const UP_MS = 15_000;
const SMALL_FILE_BYTES = 65_536;

export interface WorldOptions {
  /** As parsePair reads it. */
  readonly pair: string;
  /** Between any two; 0: plain cables, no wires. */
  readonly rttMs: number;
  readonly bindingTimeoutS?: number;
  /** What the service serves under /file; 64 KiB of something if not given. */
  readonly file?: string;
  readonly rateBytesPerS?: number;
  readonly quality?: Partial<WireQuality>;
  /** Another intermediate, which agent and connector are told of too. */
  readonly secondIntermediate?: boolean;
  /** Another NAT with a host "cell" behind it, whose interface the agent's host can take over. */
  readonly secondUplink?: string;
}

/** Of the agent's side in later runs, above those of the sides. */
const FIRST_RENUMBERED = 100;
const MAX_RENUMBERED = 150;

/** What the agent's status says of its first session. */
export interface SessionView {
  readonly path: string;
  readonly local: string | null;
  readonly remote: string | null;
  readonly localType: string | null;
  readonly remoteType: string | null;
  readonly rttMs: number | null;
  readonly relayRttMs: number | null;
  readonly handshakes: number;
  readonly migrations: number;
  readonly reason: string | null;
}

export class World {
  readonly lab: Lab;
  readonly agentSide: Side;
  readonly connectorSide: Side;
  /** The second uplink. */
  readonly cellSide: Side | null;
  readonly directory: string;
  readonly options: WorldOptions;
  readonly kind: PairKind;
  readonly #shared: SharedNat | null;
  #runs = 0;
  readonly #programs: Program[] = [];
  readonly #agentId: string;
  agent: Program | null = null;
  connector: Program | null = null;
  intermediate: Program | null = null;
  secondIntermediate: Program | null = null;
  service: Program | null = null;

  private constructor(options: WorldOptions) {
    this.options = options;
    this.directory = mkdtempSync("/run/lab/");
    this.lab = new Lab();
    const wire = this.wireQuality;
    this.lab.publicHost("relay", [RELAY_IP], wire);
    if (options.secondIntermediate) this.lab.publicHost("relay2", [SECOND_RELAY_IP], wire);
    this.lab.publicHost("probe", PROBE_IPS, wire);
    const cabling = {
      wire,
      ...(options.bindingTimeoutS === undefined ? {} : { bindingTimeoutS: options.bindingTimeoutS }),
    };
    this.kind = parsePair(options.pair);
    const { agent, connector, shared } = this.kind;
    this.#shared = shared ? this.lab.sharedNat("shared-nat", shared, cabling) : null;
    const side = (name: string, { layers }: SideKind, behind: SharedNat | null) =>
      this.lab.side(name, { layers, behind, ...cabling });
    this.agentSide = side("agent", agent, this.#shared);
    this.connectorSide = side("connector", connector, this.#shared);
    this.cellSide = options.secondUplink ? side("cell", parseSide(options.secondUplink), null) : null;
    this.#agentId = spawnSync(adit("agent")[0] as string, ["id", "--state-dir", `${this.directory}/agent`], {
      encoding: "utf8",
    }).stdout.trim();
  }

  /** The network and, in it, the intermediate and the service; neither agent nor connector yet. */
  static async begin(options: WorldOptions): Promise<World> {
    const world = new World(options);
    try {
      await world.lab.up();
      await world.#applyExtras();
      const file = options.file ?? `${world.directory}/file`;
      if (options.file === undefined) writeFileSync(file, randomBytes(SMALL_FILE_BYTES));
      const rate = options.rateBytesPerS === undefined ? [] : ["--rate", String(options.rateBytesPerS)];
      world.service = world.start("connector", "service", tool("serve", "--listen", SERVICE, "--file", file, ...rate));
      await world.startIntermediate();
      await world.service.expect("listening", UP_MS);
      return world;
    } catch (error) {
      await world.end();
      throw error;
    }
  }

  async #applyExtras(): Promise<void> {
    if (this.#relayIps.includes(RELAY_IP6)) this.lab.addPublicIpv6("relay", RELAY_IP6);
    this.lab.addPublicIpv6("probe", PROBE_IP6);
    for (const name of this.kind.agent.extras) await EXTRAS[name].apply(this.lab, this.agentSide);
    for (const name of this.kind.connector.extras) await EXTRAS[name].apply(this.lab, this.connectorSide);
  }

  /** One wire's part: a way crosses two of them, there and back. */
  get wireQuality(): WireQuality | null {
    const { rttMs, quality } = this.options;
    return rttMs > 0 || quality ? { delayMs: rttMs / 4, ...quality } : null;
  }

  start(namespace: string, name: string, command: readonly string[]): Program {
    const program = new Program(namespace, name, command);
    this.#programs.push(program);
    return program;
  }

  async startIntermediate(): Promise<void> {
    this.intermediate = await this.#intermediateAt("relay", "intermediate", this.#relayIps);
    if (this.options.secondIntermediate && !this.secondIntermediate)
      this.secondIntermediate = await this.#intermediateAt("relay2", "intermediate2", [SECOND_RELAY_IP]);
  }

  async #intermediateAt(namespace: string, name: string, ips: readonly string[]): Promise<Program> {
    const startedMs = epochMs();
    const listeners = ips.flatMap((ip) => [
      ...["--listen", hostPort(ip, 4433), "--stun", hostPort(ip, 3478)],
      ...["--signaling-tls", hostPort(ip, 4433), "--signaling-tls", hostPort(ip, 443)],
    ]);
    const program = this.start(
      namespace,
      name,
      adit("intermediate", ...listeners, "--state-dir", `${this.directory}/${name}`, "--log", "json"),
    );
    await program.expect("listening", UP_MS, () => true, startedMs);
    return program;
  }

  /** One of each family that a side has alone; without such, IPv4. */
  get #relayIps(): readonly string[] {
    const { agent, connector } = this.kind;
    const [one, other] = [isIpv6Alone(agent), isIpv6Alone(connector)];
    if (one && other) return [RELAY_IP6];
    return one || other ? [RELAY_IP, RELAY_IP6] : [RELAY_IP];
  }

  /** What a side is told. */
  #intermediatesFor(side: SideKind): readonly string[] {
    const ips = isIpv6Alone(side)
      ? [RELAY_IP6]
      : [RELAY_IP, ...(this.options.secondIntermediate ? [SECOND_RELAY_IP] : [])];
    return ips.flatMap((ip) => ["--intermediate", hostPort(ip, 4433)]);
  }

  /** Up and registered, with its allocation. */
  async startConnector(): Promise<void> {
    this.connector = this.start(
      "connector",
      "connector",
      adit(
        "connector",
        ...this.#intermediatesFor(this.kind.connector),
        "--name",
        "office",
        "--expose",
        `web=tcp://${SERVICE}`,
        ...LOG,
        "--allow",
        this.#agentId,
        "--state-dir",
        `${this.directory}/connector`,
        ...traced("connector"),
      ),
    );
    const { connector } = this;
    const places = this.options.secondIntermediate ? [RELAY_IP, SECOND_RELAY_IP] : [null];
    for (const ip of places) {
      const isThere = (address: unknown) => ip === null || String(address).startsWith(`${ip}:`);
      await connector.expect("registered", UP_MS, (line) => isThere(line.intermediate));
      await connector.expect("turn-allocated", UP_MS, (line) => isThere(line.server));
    }
  }

  startAgent(): Program {
    this.agent = this.start(
      "agent",
      "agent",
      adit(
        "agent",
        "forward",
        ...this.#intermediatesFor(this.kind.agent),
        "--to",
        "office",
        "--local",
        `${LOCAL.host}:${LOCAL.port}=web`,
        ...LOG,
        "--state-dir",
        `${this.directory}/agent`,
        ...traced("agent"),
      ),
    );
    return this.agent;
  }

  /** The agent's first session, or null when it has none. */
  async session(): Promise<SessionView | null> {
    const status = (await this.lab.station("agent").ask("status", STATUS_URL)) as { sessions: SessionView[] };
    return status.sessions[0] ?? null;
  }

  /** For how long the programs and the service, taken together, had to wait for a processor: no more of any time is the machine's. */
  get waitedMs(): number {
    const programs = [this.agent, this.connector, this.intermediate, this.service];
    return programs.reduce((sum, program) => sum + (program?.waitedMs ?? 0), 0);
  }

  /** What the programs said last, for failures, and before that what became of the lab itself. */
  get tails(): string {
    const programs = [this.agent, this.connector, this.intermediate, this.secondIntermediate];
    const said = programs.flatMap((program) => (program ? [program.tail] : []));
    return [...(this.lab.trouble ? [this.lab.trouble] : []), ...said].join("\n");
  }

  /**
   * What one run mapped does not help the next. The agent comes from an address that nobody has heard of, and the connector, which stands for long
   * in reality too, stays. Where that cannot be, all mappings are forgotten, and the connector is another one too.
   */
  async beginRun(): Promise<void> {
    if (!this.#connectorStays) this.rebootNats();
    else if (this.#runs > 0) this.lab.renumber(this.agentSide, `${PUBLIC_NET}.${FIRST_RENUMBERED + this.#runs}`);
    this.#runs++;
    if (!this.connector) await this.startConnector();
  }

  async endRun({ failed }: { readonly failed: boolean }): Promise<void> {
    await this.agent?.stop();
    if (this.#connectorStays && !failed) return;
    await this.connector?.stop();
    this.connector = null;
  }

  /** Not behind one NAT with the agent, and not where routers are looked at after each run. */
  get #connectorStays(): boolean {
    const { agent, connector } = this.kind;
    const hasIpv6 = isIpv6Alone(agent) || isIpv6Alone(connector);
    const hasRouter = [...agent.extras, ...connector.extras].some((name) => "mapsPorts" in EXTRAS[name]);
    return !this.#shared && !hasIpv6 && !hasRouter && this.#runs < MAX_RENUMBERED;
  }

  /** All NATs forget everything: what one run mapped does not help the next. */
  rebootNats(): void {
    for (const nat of [...this.agentSide.nats, ...this.connectorSide.nats]) nat.reboot();
    this.#shared?.nat.reboot();
  }

  async end(): Promise<void> {
    await Promise.all(this.#programs.map((program) => program.stop("SIGKILL")));
    await this.lab.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

const LOG = ["--log", "json", "--log-level", process.env.ADIT_NATLAB_LOG ?? "info"];
/** ADIT_NATLAB_TRACE=DIR keeps what each program traced, for `npm run trace-plot`. */
const traced = (name: string): readonly string[] => {
  const directory = process.env.ADIT_NATLAB_TRACE;
  return directory ? ["--trace", `${directory}/${name}-${Date.now()}.jsonl`] : [];
};

const hostPort = (ip: string, port: number): string => (ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`);
