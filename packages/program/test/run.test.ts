import { test } from "@adit/harness";
import { type Context, type EndSignal, ExitError, type Host, Program, runProgram, toggle } from "../src/index.ts";

/** Runs a program whose only command is `body`, in a process of paper. */
function run(args: readonly string[], body: (context: Context) => Promise<number | undefined>, reloads = false) {
  const program = new Program({
    name: "adit-demo",
    summary: "For tests.",
    options: { json: toggle({ help: "JSON" }) },
  });
  program.command({
    name: null,
    summary: "Runs.",
    example: "adit-demo",
    uses: ["json"],
    reloads,
    run: (_, context) => body(context),
  });
  const out: string[] = [];
  const err: string[] = [];
  let signal: (signal: EndSignal) => void = () => {};
  let crash: (error: unknown) => void = () => {};
  let exited: (status: number) => void = () => {};
  const status = new Promise<number>((resolve) => {
    exited = resolve;
  });
  const host: Host = {
    args,
    env: { XDG_STATE_HOME: "/state" },
    writeOut: (text) => out.push(text),
    writeErr: (text) => err.push(text),
    onSignal: (handler, signals) => {
      signal = (name) => signals.includes(name) && handler(name);
    },
    onCrash: (handler) => {
      crash = handler;
    },
    exit: exited,
  };
  void runProgram(program, host);
  return {
    out,
    err,
    status,
    kill: (name: EndSignal) => signal(name),
    crash: (error: unknown) => crash(error),
  };
}

const untilAborted = ({ signal }: Context): Promise<undefined> =>
  new Promise((resolve) => signal.addEventListener("abort", () => resolve(undefined)));

test("the exit status is the command's, or 0", async (t) => {
  t.equal(await run([], async () => undefined).status, 0);
  t.equal(await run([], async () => 3).status, 3);
  const printing = run([], async ({ print }) => {
    print("line");
    return undefined;
  });
  t.same([await printing.status, printing.out], [0, ["line\n"]]);
});

test("an error is one sentence with the exit status of its code, without a stack", async (t) => {
  const cases = [
    ["failure", 1],
    ["usage", 2],
    ["refused", 3],
    ["not-found", 4],
    ["timeout", 5],
  ] as const;
  for (const [code, expected] of cases) {
    const failing = run([], async () => {
      throw new ExitError(code, "It did not work; do this.");
    });
    t.equal(await failing.status, expected);
    t.same(failing.err, ["adit-demo: It did not work; do this.\n"]);
  }
  const unexpected = run([], async () => {
    throw new TypeError("x is undefined");
  });
  t.equal(await unexpected.status, 1);
  t.same(unexpected.err, ["adit-demo: x is undefined\n"]);
});

test("with --log-level debug an error shows its stack", async (t) => {
  const failing = run(["--log-level", "debug"], async () => {
    throw new TypeError("x is undefined");
  });
  await failing.status;
  t.match(failing.err.join(""), /run\.test/);
});

test("with --log json errors are objects too, those of the command line included", async (t) => {
  const failing = run(["--log", "json"], async () => {
    throw new ExitError("refused", "Two\nlines.");
  });
  await failing.status;
  const usage = run(["--log=json", "--nonsense"], async () => undefined);
  t.equal(await usage.status, 2);
  for (const [{ err }, message] of [
    [failing, /^Two\nlines\.$/],
    [usage, /unknown option '--nonsense'/],
  ] as const) {
    t.equal(err.length, 1);
    const line = JSON.parse(err[0] ?? "");
    t.match(line.message, message);
    t.same([line.level, line.event], ["error", "failed"]);
  }
});

test("an UDP address that is taken is a usage error", async (t) => {
  // As transport's UdpBindError is told: by its name, for loading the class loads the native library.
  const { UdpBindError } = await import("@adit/transport");
  const { SocketAddress } = await import("@adit/core");
  const taken = run([], async () => {
    throw new UdpBindError(
      "address-in-use",
      SocketAddress.of("127.0.0.1", 4433),
      "UDP address 127.0.0.1:4433 is in use",
    );
  });
  t.equal(await taken.status, 2);
});

test("the first signal ends it cleanly, the second at once", async (t) => {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    const clean = run([], untilAborted);
    await new Promise((resolve) => setImmediate(resolve));
    clean.kill(signal);
    t.equal(await clean.status, 0);
  }
  const stuck = run([], () => new Promise<undefined>(() => {}));
  await new Promise((resolve) => setImmediate(resolve));
  stuck.kill("SIGTERM");
  stuck.kill("SIGTERM");
  t.equal(await stuck.status, 143);
});

test("what reads its files again at SIGHUP is not ended by it", async (t) => {
  const running = run([], untilAborted, true);
  await new Promise((resolve) => setImmediate(resolve));
  running.kill("SIGHUP");
  running.kill("SIGHUP"); // the second would have ended it at once
  running.kill("SIGTERM");
  t.equal(await running.status, 0);
});

test("a crash behind the command's back ends it with a sentence", async (t) => {
  const running = run([], untilAborted);
  await new Promise((resolve) => setImmediate(resolve));
  running.crash(new Error("nobody caught this"));
  t.equal(await running.status, 1);
  t.same(running.err, ["adit-demo: nobody caught this\n"]);
});

test("the state directory is the given one, or the program's own", async (t) => {
  const seen: string[] = [];
  const look = async ({ stateDir }: Context) => void seen.push(stateDir);
  await run([], look).status;
  await run(["--state-dir", "/x"], look).status;
  t.same(seen, ["/state/adit/demo", "/x"]);
});
