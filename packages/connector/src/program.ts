import {
  addForgetCommand,
  addIdCommand,
  addStatusCommand,
  adminOption,
  duration,
  exposure,
  intermediateAddress,
  list,
  loadIdentity,
  Pins,
  Program,
  peerIdOrAny,
  peerName,
  peerOptions,
  serviceName,
  statusOptions,
  value,
  withState,
} from "@adit/program";
import type { StartEndpoint } from "./connector.ts";

const options = {
  intermediate: list(intermediateAddress, {
    help: "the intermediate to register with; several stand in for each other",
  }),
  name: value(peerName, { help: "the name that agents ask for" }),
  expose: list(exposure, { help: "a service, and the TCP or UDP server behind it" }),
  allow: list(peerIdOrAny, { help: "who is let in: PeerIds as `adit-agent id` prints them; nobody by default" }),
  service: list(serviceName, { help: "what the ticket opens; all that is exposed by default" }),
  expires: value(duration, { help: "how long the ticket lets its holder in", default: "24h" }),
  ...peerOptions,
  ...statusOptions,
  admin: adminOption("127.0.0.1:9434"),
};

/** The commands of adit-connector. What they run is loaded only when it runs: `--help` needs no network and no native library. */
export function makeProgram(start: StartEndpoint): Program<typeof options> {
  const program = new Program({
    name: "adit-connector",
    summary: "Stands next to private services and hands incoming streams to them.",
    options,
  });
  program.command({
    name: null,
    summary: "Stands next to private services and hands incoming streams to them.",
    example:
      "adit-connector --intermediate relay.example.org:4433 --name office --expose web=tcp://127.0.0.1:8080 --allow PEERID",
    uses: [
      "intermediate",
      "name",
      "expose",
      "allow",
      "bind",
      "icePolicy",
      "congestionControl",
      "portMapping",
      "udpIdle",
      "trace",
      "admin",
    ],
    required: ["intermediate", "name", "expose"],
    run: async (values, context) => {
      const { connector } = await import("./connector.ts");
      await withState(context, (state) => connector(start, values, state, context));
      return 0;
    },
  });
  program.command({
    name: "ticket",
    summary: "Prints a ticket: who holds it is let in without being on the list. It is a secret.",
    example: "adit-connector ticket --service web --expires 2h",
    uses: ["intermediate", "service", "expires"],
    help: { intermediate: "the intermediate that the ticket leads to (default: the one that this connector has met)" },
    run: async (values, context) => {
      const { ticket } = await import("./ticket.ts");
      const { warnOfUnexposed } = await import("./exposed.ts");
      for (const message of warnOfUnexposed(context.stateDir, values.service)) {
        context.log.warn("service-not-exposed", { message });
      }
      const identity = await loadIdentity(context.stateDir);
      context.print(ticket(values, identity, new Pins(context.stateDir, context.program)));
      return undefined;
    },
  });
  addStatusCommand(program);
  addIdCommand(program);
  addForgetCommand(program, "relay.example.org:4433");
  return program;
}
