import type { Readable, Writable } from "node:stream";
import { type Context, ExitError, forwardBytes, type OpenState } from "@adit/program";
import { ServiceRefusedError } from "@adit/transport";
import { FirstBytes } from "./first-bytes.ts";
import { Link, type LinkValues, type StartEndpoint } from "./link.ts";

export interface PipeStdio {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable;
}

/**
 * `adit-agent pipe SERVICE`: stdin and stdout are carried to a service, as ssh's ProxyCommand wants it. Ends when both
 * directions have ended.
 * @throws ExitError
 */
export async function pipe(
  start: StartEndpoint,
  values: LinkValues & { readonly service: string },
  state: OpenState,
  context: Context,
  stdio: PipeStdio = process,
): Promise<void> {
  const link = await Link.open(start, values, state, context);
  try {
    const session = await link.connect(values.service);
    const { stdin, stdout } = stdio;
    const first = new FirstBytes(stdin);
    const stream = await session.openService(values.service, (requested) => first.follow(requested));
    const head = first.release();
    const result = forwardBytes({ readable: stdin, writable: stdout, head, abort: () => stdin.destroy() }, stream);
    // At a terminal nobody would think of ending the input of a service that has said its last word.
    if (stdin.isTTY) stdout.once("finish", () => stdin.destroy());
    const { broken } = await result;
    if (broken && !context.signal.aborted && !(stdin.isTTY && stdout.writableFinished)) {
      throw new ExitError("failure", `${values.service}: the connection broke: ${broken.reason}`);
    }
  } catch (error) {
    if (context.signal.aborted) return;
    if (error instanceof ServiceRefusedError) {
      throw new ExitError("refused", `${link.targetText} refuses ${values.service}: ${error.message}`, {
        cause: error,
      });
    }
    throw link.failure(error);
  } finally {
    await link.close();
  }
}
