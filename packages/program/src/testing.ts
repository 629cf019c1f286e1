/** For the tests of the programs. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Invocation } from "./command-line.ts";
import type { Flow } from "./datagrams.ts";

/** A program's command line. */
interface Parses {
  parse(args: readonly string[]): Invocation;
}

/** What an option is given: its text, several texts for a list, or true for a switch. */
export type Samples = Readonly<Record<string, string | readonly string[] | true>>;

/** The names of the options that a command's help shows, but for those that every command line has. */
export function optionsInHelp(program: Parses, command: readonly string[]): readonly string[] {
  const help = program.parse([...command, "--help"]);
  const text = help.kind === "print" ? help.text : "";
  const names = [...text.matchAll(/^ {2}(?:-\w, )?--([a-z-]+)/gm)].map(([, name]) => name ?? "");
  return names.filter((name) => name !== "help" && name !== "version" && name !== "config");
}

/**
 * Reads each option as a flag, in a TOML file and in a JSON file; gives the values that each came to, as JSON, by the option's name.
 * `required` are the flags without which the command is not taken.
 */
export function readInEachForm(
  program: Parses,
  command: readonly string[],
  required: Samples,
  samples: Samples,
): readonly { readonly name: string; readonly forms: readonly string[] }[] {
  const dir = mkdtempSync(join(tmpdir(), "adit-options-"));
  const inFile = (file: string, content: string): readonly string[] => {
    writeFileSync(join(dir, file), content);
    return ["--config", join(dir, file)];
  };
  try {
    return Object.entries(samples).map(([name, sample]) => {
      const others = Object.entries(required).filter(([other]) => other !== name);
      const base = [...command, ...others.flatMap(([other, given]) => flags(other, given))];
      const all = [flags(name, sample), inFile("a.toml", toml(name, sample)), inFile("a.json", json(name, sample))];
      return { name, forms: all.map((form) => readValue(program.parse([...base, ...form]), name)) };
    });
  } finally {
    rmSync(dir, { recursive: true });
  }
}

const flags = (name: string, sample: Samples[string]): string[] =>
  sample === true ? [`--${name}`] : [sample].flat().flatMap((one) => [`--${name}`, one]);

const toml = (name: string, sample: Samples[string]): string => `${name} = ${JSON.stringify(sample)}\n`;

const json = (name: string, sample: Samples[string]): string => JSON.stringify({ [name]: sample });

function readValue(invocation: Invocation, name: string): string {
  if (invocation.kind === "print") throw new Error(`--${name} was not taken`);
  const key = name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return JSON.stringify(invocation.values[key] ?? null);
}

/** A flow whose other end is the test. */
export class FakeFlow implements Flow {
  onDatagram: ((payload: Uint8Array) => void) | null = null;
  onClosed: ((error: Error | null) => void) | null = null;
  maxPayloadBytes = 1200;
  isClosed = false;
  /** What `send` says of a datagram that is not too large. */
  answer: "sent" | "full" = "sent";
  readonly sent: Uint8Array[] = [];

  send(payload: Uint8Array): "sent" | "full" | "too-large" | "closed" {
    if (this.isClosed) return "closed";
    if (payload.length > this.maxPayloadBytes) return "too-large";
    if (this.answer === "sent") this.sent.push(payload.slice());
    return this.answer;
  }

  close(): void {
    this.isClosed = true;
  }

  /** The other side, or the session, ends it. */
  end(error: Error | null = null): void {
    this.isClosed = true;
    this.onClosed?.(error);
  }
}
