import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type T, test } from "@adit/harness";
import {
  count,
  duration,
  type ExitError,
  intermediateAddress,
  list,
  localListener,
  Program,
  peerName,
  serviceName,
  toggle,
  userPassword,
  value,
} from "../src/index.ts";

const options = {
  to: value(peerName, { help: "the connector" }),
  local: list(localListener, { help: "listeners" }),
  wait: value(duration, { help: "how long", default: "10s" }),
  intermediate: value(intermediateAddress, { help: "the intermediate" }),
  count: value(count, { help: "how many", short: "c" }),
  json: toggle({ help: "as JSON" }),
  turnUser: list(userPassword, { help: "foreign users" }),
};

const ran: unknown[] = [];

function makeProgram(): Program<typeof options> {
  const all = Object.keys(options) as (keyof typeof options)[];
  return new Program({ name: "adit-demo", summary: "A program for tests.", options })
    .command({
      name: "forward",
      summary: "Carries ports.",
      example: "adit-demo forward --to office",
      uses: all,
      required: ["to"],
      run: async (values) => void ran.push(values),
    })
    .command({
      name: "pipe",
      summary: "Carries stdin.",
      example: "adit-demo pipe ssh",
      uses: ["to"],
      argument: serviceName,
      logLevel: "warn",
      run: async (_values, _context, service) => void ran.push(service),
    });
}

function makeDaemon(): Program<typeof options> {
  return new Program({ name: "adit-daemon", summary: "Runs.", options })
    .command({
      name: null,
      summary: "Runs.",
      example: "adit-daemon --to office",
      uses: ["to"],
      run: async () => void ran.push("daemon"),
    })
    .command({
      name: "id",
      summary: "Prints.",
      example: "adit-daemon id",
      uses: [],
      run: async () => void ran.push("id"),
    });
}

const context = null as never; // the commands here do not look at it

/** What the command got, without the options that every program has. */
async function run(args: readonly string[], program = makeProgram()): Promise<unknown> {
  const invocation = program.parse(args);
  if (invocation.kind !== "run") throw new Error(invocation.text);
  await invocation.run(context);
  return JSON.parse(JSON.stringify(ran.pop()));
}

function refusal(args: readonly string[], program = makeProgram()): string {
  try {
    program.parse(args);
  } catch (error) {
    if ((error as ExitError).status !== 2) throw error;
    return (error as ExitError).message;
  }
  throw new Error(`${args.join(" ")} was taken`);
}

function file(t: T, name: string, content: string): string {
  const directory = mkdtempSync(join(tmpdir(), "adit-options-"));
  t.teardown(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, name), content);
  return join(directory, name);
}

test("options are read, repeated ones as a list, and defaults stand for what is missing", async (t) => {
  const values = await run(["forward", "--to", "office", "--local", "0=web", "--local=9=ssh", "-c", "3", "--json"]);
  t.same(values, {
    to: "office",
    local: [
      { protocol: "tcp", address: "127.0.0.1:0", service: "web" },
      { protocol: "tcp", address: "127.0.0.1:9", service: "ssh" },
    ],
    wait: 10_000,
    count: 3,
    json: true,
    turnUser: [],
    log: "text",
  });
  t.equal(await run(["pipe", "--to", "office", "ssh"]), "ssh");
});

test("a bad option names itself, its value and what was expected", (t) => {
  const cases: [string[], RegExp][] = [
    [["forward", "--to", "Office"], /^--to "Office": expected a name of 1 to 40 of a-z, 0-9 and -$/],
    [
      ["forward", "--to", "a", "--local", "1=web", "--local", "9000"],
      /^--local "9000": expected \[udp:\]\[ADDR:\]PORT=SERVICE/,
    ],
    [["forward", "--to", "a", "--wait", "soon"], /^--wait "soon": expected a duration such as/],
    [["forward", "--to", "a", "--count", "0"], /^--count "0": expected a whole number from 1/],
    [["forward", "--to", "a", "--log", "xml"], /^--log "xml": expected one of text, json$/],
    [
      ["forward", "--to", "a", "--log-level", "loud"],
      /^--log-level "loud": expected one of trace, debug, info, warn, error$/,
    ],
    [["forward", "--to", "a", "--state-dir", ""], /^--state-dir "": expected the path of a directory$/],
    [["forward", "--to", "a", "--intermediate", "relay"], /^--intermediate "relay": expected \[PEERID@\]HOST:PORT/],
    [["forward"], /^--to NAME is missing \(or to in the --config file\): the connector$/],
    [["forward", "--to"], /'--to <NAME>' argument missing/],
    [["forward", "--too", "a"], /unknown option '--too'\n\(Did you mean --to\?\)/],
    [["pipe", "We_b"], /^"We_b": expected a service's name/],
    [["pipe"], /missing required argument 'SERVICE'\n\(adit-demo pipe --help tells more\)$/],
    [["pipe", "a", "b"], /too many arguments/],
    [
      ["--to", "a", "forward"],
      /unknown option '--to'\n\(Options stand behind the command: adit-demo COMMAND --to \.\.\.\)/,
    ],
    [["forwrd"], /unknown command 'forwrd'\n\(Did you mean forward\?\)/],
    [["help", "forwrd"], /^unknown command "forwrd"; did you mean forward\?$/],
    [["ticket"], /unknown command 'ticket'\n\(adit-demo --help tells more\)$/],
    [[], /^a command is missing\n\nUsage: adit-demo/],
  ];
  for (const [args, expected] of cases) t.match(refusal(args), expected);
});

test("a bad secret is not repeated", (t) => {
  const message = refusal(["forward", "--to", "a", "--turn-user", "hunter2"]);
  t.match(message, /^--turn-user \(not shown\): expected NAME:PASSWORD$/);
});

test("a configuration file gives any option in TOML or JSON, and the command line wins", async (t) => {
  const toml = file(
    t,
    "a.toml",
    'to = "office"\nlocal = ["1=web", "2=ssh"]\ncount = 4\njson = true\nlog = "json"\nwait = "1m"\n',
  );
  const json = file(t, "a.json", '{ "to": "home", "local": "1=web", "turn-user": ["a:b"] }');
  t.same(await run(["forward", "--config", toml]), {
    to: "office",
    local: [
      { protocol: "tcp", address: "127.0.0.1:1", service: "web" },
      { protocol: "tcp", address: "127.0.0.1:2", service: "ssh" },
    ],
    wait: 60_000,
    count: 4,
    json: true,
    turnUser: [],
    log: "json",
  });
  t.same(await run(["forward", "--config", json, "--to", "other", "--no-json", "--local", "3=x"]), {
    to: "other",
    local: [{ protocol: "tcp", address: "127.0.0.1:3", service: "x" }],
    wait: 10_000,
    json: false,
    turnUser: [{ name: "a", password: "b" }],
    log: "text",
  });
});

test("a configuration file's mistakes name the file, the key, the value and what was expected", (t) => {
  const cases: [string, string, RegExp][] = [
    ["a.toml", 'tto = "office"', /a\.toml: unknown key tto = "office"; did you mean to\?$/],
    ["a.toml", "speed = 3", /unknown key speed = 3; expected one of to, local, wait, intermediate, .*state-dir/],
    ["a.toml", 'to = "Office"', /a\.toml: to = "Office": expected a name of/],
    ["a.toml", "to = 3.5", /a\.toml: to = 3.5: expected a name of/],
    ["a.toml", 'to = ["a"]', /a\.toml: to = \["a"\]: expected a name of/],
    ["a.toml", 'json = "yes"', /a\.toml: json = "yes": expected true or false/],
    ["a.toml", 'local = ["1=web", "2"]', /a\.toml: local = "2": expected \[udp:\]\[ADDR:\]PORT=SERVICE/],
    ["a.toml", 'to = "office', /a\.toml is not valid TOML, line 1, column \d+: /],
    ["a.json", '{ "to": office }', /a\.json is not valid JSON: /],
    ["a.json", '{ "to": null }', /a\.json: to = null: expected a name of/],
    ["a.json", '{ "__proto__": { "to": "x" } }', /unknown key __proto__/],
    ["a.json", '{ "turnUser": "a:b" }', /unknown key turnUser = \(not shown\); did you mean turn-user\?$/],
    ["a.toml", 'turn-usr = ["a:b"]', /unknown key turn-usr = \(not shown\); did you mean turn-user\?$/],
  ];
  for (const [name, content, expected] of cases) {
    // A value that the command line replaces is checked all the same.
    t.match(refusal(["forward", "--to", "office", "--config", file(t, name, content)]), expected);
  }
  t.match(
    refusal(["forward", "--config", "/nonexistent/a.toml"]),
    /--config \/nonexistent\/a\.toml: there is no such file/,
  );
});

test("secrets that others can read are warned of, and not repeated: on the command line, and in a file that is open to them", (t) => {
  const warnings = (...args: string[]): readonly string[] => {
    const invocation = makeProgram().parse(["forward", "--to", "office", ...args]);
    return invocation.kind === "run" ? invocation.warnings : [];
  };
  t.same(warnings(), []);
  const [shown, ...rest] = warnings("--turn-user", "alice:hush");
  t.match(shown ?? "", /^--turn-user stands on the command line, .* --config file with mode 0600$/);
  t.same(rest, []);
  t.notOk(shown?.includes("hush"));
  const path = file(t, "a.toml", 'turn-user = ["alice:hush"]\nwait = "1s"');
  chmodSync(path, 0o600);
  t.same(warnings("--config", path), []);
  if (process.platform === "win32") return;
  chmodSync(path, 0o640);
  t.same(warnings("--config", path), [
    `${path} holds turn-user and can be read by others (mode 0640); run: chmod 600 ${path}`,
  ]);
  const open = file(t, "b.toml", 'wait = "1s"');
  chmodSync(open, 0o644);
  t.same(warnings("--config", open), [], "nothing secret is in it");
});

test("help and version are printed for the program and each command, with an example", (t) => {
  const cases: [string[], RegExp][] = [
    [["--help"], /Usage: adit-demo [\s\S]*forward[\s\S]*Example:\n {2}adit-demo forward --to office/],
    [["forward", "--help"], /--to <NAME>[\s\S]*\(default 10s\)[\s\S]*Example:\n {2}adit-demo forward --to office/],
    [["pipe", "-h"], /Usage: adit-demo pipe \[options\] <SERVICE>[\s\S]*Example:\n {2}adit-demo pipe ssh/],
    [["help"], /^Usage: adit-demo \[options\] \[command\]/],
    [["help", "pipe"], /^Usage: adit-demo pipe /],
    [["--version"], /^adit-demo \d+\.\d+\.\d+\n$/],
    [["pipe", "--version"], /^adit-demo \d+\.\d+\.\d+\n$/],
  ];
  for (const [args, expected] of cases) {
    const invocation = makeProgram().parse(args);
    t.match(invocation.kind === "print" ? invocation.text : "ran", expected);
  }
});

test("a program that runs without a command still has commands, and doubts other words", async (t) => {
  t.equal(await run(["--to", "a"], makeDaemon()), "daemon");
  t.equal(await run(["id", "--state-dir", "/x"], makeDaemon()), "id");
  t.match(refusal(["ticket"], makeDaemon()), /^unknown command "ticket"; the commands are id$/);
  t.match(refusal(["idd", "--state-dir", "/x", "more"], makeDaemon()), /^unknown command "idd"; did you mean id\?$/);
  t.match(refusal(["idd"], makeDaemon()), /^unknown command "idd"; did you mean id\?$/);
});

test("the state directory and the log options count before and behind the command", (t) => {
  for (const args of [
    ["id", "--state-dir", "/x", "--log", "json"],
    ["--state-dir", "/x", "--log", "json", "id"],
  ]) {
    const invocation = makeDaemon().parse(args);
    if (invocation.kind !== "run") return t.fail("printed");
    t.same(
      [invocation.command, invocation.stateDir, invocation.log, invocation.logLevel],
      ["id", "/x", "json", "info"],
    );
  }
  const pipe = makeProgram().parse(["pipe", "ssh"]);
  t.equal(pipe.kind === "run" && pipe.logLevel, "warn");
});
