import type { SocketAddress } from "@adit/core";
import type { Identity } from "@adit/quic";
import type { Context, Program } from "./command-line.ts";
import { ExitError } from "./exit.ts";
import { loadIdentity } from "./key-file.ts";
import { lockStateDir } from "./lock.ts";
import { type OptionSpec, type OptionTable, toggle, value } from "./options.ts";
import { peerStatusInWords } from "./peer-status.ts";
import { Pins } from "./pins.ts";
import { type StatusCheck, showStatus } from "./status-client.ts";
import { bindAddress, duration, filePath, oneOf, peerName, socketAddress, type ValueType } from "./values.ts";

/** What the `status` subcommand takes, beside `admin`. */
export const statusOptions = {
  json: toggle({ help: "print JSON" }),
  check: value(oneOf(["direct", "ready"]), { help: "exit with status 1 unless it is so" }),
} as const satisfies OptionTable;

/** `--admin`, with the program's own default port. */
export const adminOption = (defaultText: string): OptionSpec<SocketAddress> =>
  value(socketAddress, { help: "where HTTP answers /healthz, /status and /metrics", default: defaultText });

/** `--port-mapping`. */
const portMappingOption = value(oneOf(["on", "off"]), {
  help: "on: ask the router for a port that leads here (PCP, NAT-PMP, UPnP), given back at the end",
  default: "on",
});

/** `--congestion-control`. The first one is the default; a test compares them with the library's, which is not loaded for `--help`. */
export const congestionControls = ["cubic", "bbr", "reno"] as const;
export const congestionControlOption = value(oneOf(congestionControls), {
  help: "how fast this side sends to its peers: cubic and reno by losses, bbr by measured bandwidth (for lossy lines)",
  default: congestionControls[0],
});

/** The options of both sides of a session. */
export const peerOptions = {
  bind: value(bindAddress, { help: "where the UDP socket binds (default: all addresses, any port)" }),
  icePolicy: value(oneOf(["all", "relay"]), {
    help: "relay: never tell the other side an address of ours",
    default: "all",
  }),
  congestionControl: congestionControlOption,
  portMapping: portMappingOption,
  trace: value(filePath, { help: "write what becomes of each session to this file, as JSON lines" }),
  udpIdle: value(duration, { help: "a UDP flow without datagrams for so long is closed", default: "2m" }),
} as const satisfies OptionTable;

/** What a running program holds of its state directory. */
export interface OpenState {
  readonly identity: Identity;
  readonly pins: Pins;
}

/** Runs `body` with the state directory locked. @throws ExitError `usage` when what is in it is damaged. */
export async function withState<T>(context: Context, body: (state: OpenState) => Promise<T>): Promise<T> {
  const lock = await lockStateDir(context.stateDir, context.program);
  try {
    const identity = await loadIdentity(context.stateDir);
    const pins = new Pins(context.stateDir, context.program);
    pins.keys(); // a damaged file is an error of configuration now, not a refused intermediate later
    return await body({ identity, pins });
  } finally {
    lock.release();
  }
}

/** `id`: prints the PeerId alone, and makes the key if there is none. */
export function addIdCommand<O extends OptionTable>(program: Program<O>): void {
  program.command({
    name: "id",
    summary: "Prints the PeerId.",
    example: `${program.name} id`,
    uses: [],
    run: async (_values, context) => {
      context.print((await loadIdentity(context.stateDir)).peerId);
      return undefined;
    },
  });
}

interface StatusTable extends OptionTable {
  readonly admin: OptionSpec<SocketAddress>;
  readonly json: OptionSpec<boolean>;
  readonly check: OptionSpec<StatusCheck | undefined>;
}

/** `status`: asks the running program over its admin address. */
export function addStatusCommand<O extends StatusTable>(program: Program<O>, words = peerStatusInWords): void {
  program.command({
    name: "status",
    summary: "Tells how the running program is doing.",
    example: `${program.name} status --check ready`,
    uses: ["admin", "json", "check"],
    run: async (values, { print, log }) => {
      const { admin, json, check } = values as { admin: SocketAddress; json: boolean; check: StatusCheck | undefined };
      return showStatus({ program: program.name, admin, json, words, print, log, ...(check && { check }) });
    },
  });
}

const pinKey: ValueType<string> = {
  ...peerName,
  placeholder: "NAME|HOST:PORT",
  expected: "what is pinned",
  parse: (text) => text.toLowerCase() || null,
};

/** `forget`: accepts a changed key. */
export function addForgetCommand<O extends OptionTable>(program: Program<O>, example: string): void {
  program.command({
    name: "forget",
    summary: "Forgets the key that was pinned at the first contact, so that the next one is accepted.",
    example: `${program.name} forget ${example}`,
    uses: [],
    argument: pinKey,
    run: async (_values, context, key) => {
      const pins = new Pins(context.stateDir, context.program);
      if (pins.forget(key)) {
        context.print(`forgotten: the next key that ${key} leads to is pinned`);
        return undefined;
      }
      const known = pins.keys().join(", ") || "nothing";
      throw new ExitError("failure", `nothing is pinned for ${key} in ${pins.path}; pinned there: ${known}`);
    },
  });
}
