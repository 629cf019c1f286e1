/** The options and commands of `adit-intermediate`. What they run is loaded only when it runs: `--help` needs no native library. */
import {
  addIdCommand,
  addStatusCommand,
  adminOption,
  duration,
  filePath,
  ipAddress,
  ipPrefix,
  list,
  type OptionTable,
  Program,
  peerIdOrAny,
  portRange,
  secretText,
  socketAddress,
  socketAddressOrOff,
  statusOptions,
  text,
  toggle,
  userPassword,
  value,
  withState,
} from "@adit/program";
import { namesAction, runNamesCommand } from "./names/names-command.ts";
import { intermediateStatusInWords } from "./status.ts";

const options = {
  listen: list(socketAddress, {
    help: "where signaling (QUIC over UDP) listens; with [::]:4433 too on both families",
    default: "0.0.0.0:4433",
  }),
  signalingTls: list(socketAddressOrOff, {
    help: "where signaling and TURN over TLS listen, for networks that block UDP, such as 0.0.0.0:443 (default: the TCP port of --listen)",
  }),
  stun: list(socketAddress, {
    help: "where STUN and TURN listen, UDP and TCP; with [::]:3478 too there are IPv6 relayed addresses",
    default: "0.0.0.0:3478",
  }),
  stunTls: list(socketAddress, { help: "where STUN and TURN over TLS listen, such as 0.0.0.0:5349" }),
  tlsCert: value(filePath, {
    help: "PEM file with the TLS certificate chain (default: self-signed from the identity key)",
  }),
  tlsKey: value(filePath, { help: "PEM file with its key" }),
  alternateAddress: value(ipAddress, { help: "a second IP of this host, for NAT behaviour discovery (RFC 5780)" }),
  externalIp: list(ipAddress, {
    help: "the public IP, one of a family, where it is not the one that is listened on (1:1 NAT)",
  }),
  relayPorts: value(portRange, {
    help: "UDP ports for relayed addresses; open them in the firewall",
    default: "49152-65535",
  }),
  admin: adminOption("127.0.0.1:9433"),
  allowPrivateRelay: toggle({ help: "relay to private and loopback addresses too (a lab, one machine)" }),
  relayAllow: list(ipPrefix, { help: "relay there too; of this and --relay-deny the longer prefix counts" }),
  relayDeny: list(ipPrefix, { help: "never relay there" }),
  alternateServer: list(socketAddress, { help: "where foreign TURN clients are sent while this one drains" }),
  allow: list(peerIdOrAny, { help: "which keys may use this intermediate (default any)" }),
  realm: value(text, { help: "the realm of TURN credentials", default: "adit" }),
  turnUser: list(userPassword, {
    help: "a foreign TURN client's credentials (in a --config file nobody else reads them)",
  }),
  turnSecret: list(secretText, {
    help: "shared secret of expiring TURN credentials, username EXPIRY:ID (in a --config file likewise)",
  }),
  policy: value(filePath, { help: "a TOML file: who may register and connect, and how much; read again on SIGHUP" }),
  drain: value(duration, {
    help: "after SIGTERM, how long to relay on for sessions that stand, taking nothing new",
    default: "0s",
  }),
  ...statusOptions,
} as const satisfies OptionTable;

export function makeProgram(): Program<typeof options> {
  const program = new Program({
    name: "adit-intermediate",
    summary:
      "Introduces peers to each other, tells them how the world sees them, and relays for those that cannot meet.",
    options,
  });
  program.command({
    name: null,
    summary:
      "Introduces peers to each other, tells them how the world sees them, and relays for those that cannot meet.",
    example: "adit-intermediate --listen 0.0.0.0:4433 --stun 0.0.0.0:3478 --external-ip 203.0.113.7",
    uses: [
      "listen",
      "signalingTls",
      "stun",
      "stunTls",
      "tlsCert",
      "tlsKey",
      "alternateAddress",
      "externalIp",
      "relayPorts",
      "admin",
      "allowPrivateRelay",
      "relayAllow",
      "relayDeny",
      "alternateServer",
      "allow",
      "realm",
      "turnUser",
      "turnSecret",
      "policy",
      "drain",
    ],
    reloads: true,
    run: async (values, context) => {
      const { intermediate } = await import("./intermediate.ts");
      await withState(context, ({ identity }) => intermediate(values, identity, context));
      return 0;
    },
  });
  program.command({
    name: "names",
    summary: "Lists the names and whose they are, releases one, or gives one to a key; the program may be running.",
    example: "adit-intermediate names release office",
    uses: ["json"],
    argument: namesAction,
    run: async ({ json }, context, action) => {
      await runNamesCommand(action, json, context);
      return 0;
    },
  });
  addStatusCommand(program, intermediateStatusInWords);
  addIdCommand(program);
  return program;
}
