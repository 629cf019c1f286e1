import {
  addForgetCommand,
  addIdCommand,
  addStatusCommand,
  adminOption,
  count,
  duration,
  hostPort,
  intermediateAddress,
  list,
  localListener,
  Program,
  peerOptions,
  serviceName,
  statusOptions,
  target,
  toggle,
  value,
  withState,
} from "@adit/program";
import type { StartEndpoint } from "./link.ts";

const options = {
  intermediate: list(intermediateAddress, {
    help: "the intermediate that introduces the two; several, in the order of preference, stand in for each other; a ticket names its own",
  }),
  to: value(target, { help: "the connector" }),
  local: list(localListener, { help: "a local listener and the service it leads to" }),
  wait: value(duration, { help: "how long to look for a connector that is not there", default: "10s" }),
  count: value(count, { short: "c", help: "how many pings, 1 s apart", default: "10" }),
  stun: list(hostPort, { help: "a STUN server to ask in place of the intermediate's" }),
  bindingLifetime: toggle({ help: "measure how long the NAT keeps a mapping that is not used; takes minutes" }),
  untilDirect: toggle({ help: "end at the first answer over a direct path; exit status 1 if none comes" }),
  ...peerOptions,
  ...statusOptions,
  admin: adminOption("127.0.0.1:9435"),
};

const link = ["intermediate", "to", "bind", "icePolicy", "congestionControl", "portMapping", "wait", "trace"] as const;

/** The commands of adit-agent. What they run is loaded only when it runs: `--help` needs no network and no native library. */
export function makeProgram(start: StartEndpoint): Program<typeof options> {
  const program = new Program({
    name: "adit-agent",
    summary: "Carries local ports to the services of a connector, directly where that is possible.",
    options,
  });
  program
    .command({
      name: "forward",
      summary: "Carries local TCP and UDP ports to services until it is stopped.",
      example: "adit-agent forward --intermediate relay.example.org:4433 --to office --local 8080=web",
      uses: [...link, "local", "udpIdle", "admin"],
      required: ["to", "local"],
      run: async (values, context) => {
        const { forward } = await import("./forward.ts");
        await withState(context, (state) => forward(start, values, state, context));
        return 0;
      },
    })
    .command({
      name: "pipe",
      summary: "Carries stdin and stdout to a service, for ssh's ProxyCommand.",
      example: "ssh -o ProxyCommand='adit-agent pipe --intermediate relay.example.org:4433 --to office ssh' me@office",
      uses: link,
      required: ["to"],
      argument: serviceName,
      logLevel: "warn",
      run: async (values, context, service) => {
        const { pipe } = await import("./pipe.ts");
        await withState(context, (state) => pipe(start, { ...values, service }, state, context));
        return 0;
      },
    })
    .command({
      name: "ping",
      summary: "Measures round trips to a connector, and tells which path they took.",
      example: "adit-agent ping --intermediate relay.example.org:4433 --to office --until-direct",
      uses: [...link, "count", "untilDirect", "json"],
      required: ["to"],
      logLevel: "warn",
      run: async (values, context) => {
        const { ping } = await import("./ping.ts");
        return await withState(context, (state) => ping(start, values, state, context));
      },
    });
  program.command({
    name: "netcheck",
    summary: "Finds out what this network lets sessions be: UDP, NAT, port mapping, and what to expect.",
    example: "adit-agent netcheck --intermediate relay.example.org:4433",
    uses: ["intermediate", "stun", "portMapping", "bindingLifetime", "json"],
    help: { intermediate: "the intermediate that is asked how it sees this network" },
    required: [],
    logLevel: "error",
    run: async (values, context) => {
      const { netcheck } = await import("./netcheck/netcheck.ts");
      return await netcheck(start, values, context);
    },
  });
  addStatusCommand(program);
  addIdCommand(program);
  addForgetCommand(program, "office");
  return program;
}
