/** The lab's hands: `ip` and `nft` in a namespace, or in the lab's own. */
import { spawnSync } from "node:child_process";

interface RunOptions {
  readonly namespace?: string;
  readonly input?: string;
}

/** Runs a command to its end, and returns what it printed. @throws with what it said when it fails. */
export function run(command: string, args: readonly string[], { namespace, input }: RunOptions = {}): string {
  const [file, all] = namespace
    ? ["nsenter", [`--net=/run/netns/${namespace}`, command, ...args]]
    : [command, [...args]];
  const { status, stdout, stderr, error } = spawnSync(file as string, all as string[], {
    input: input ?? "",
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`${namespace ?? ""} ${command} ${args.join(" ")}: ${error?.message ?? stderr}`);
  return stdout;
}

/** `ip` commands in one namespace, or in the lab's own. */
export function ip(namespace: string | null, lines: readonly string[]): void {
  try {
    run("ip", ["-batch", "-"], { input: lines.join("\n"), ...(namespace ? { namespace } : {}) });
  } catch (error) {
    throw new Error(`${(error as Error).message.trim()} of:\n${lines.join("\n")}`);
  }
}
