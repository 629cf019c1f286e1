import { randomBytes } from "node:crypto";
import { chmodSync, linkSync, lstatSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { Identity } from "@adit/quic";
import { codeOf, ExitError, sentenceOf } from "./exit.ts";

/**
 * `$XDG_STATE_HOME/adit/<program>`, else `~/.local/state/adit/<program>`; `program` without the prefix `adit-`.
 * A relative XDG_STATE_HOME is ignored, as the XDG base directory specification asks.
 */
export function defaultStateDir(
  program: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const xdg = env.XDG_STATE_HOME;
  const base = xdg && isAbsolute(xdg) ? xdg : join(env.HOME || homedir(), ".local", "state");
  return join(base, "adit", program.replace(/^adit-/, ""));
}

/** Makes the directory (mode 0700) when it is not there. @throws ExitError `usage` */
export function ensureStateDir(path: string): string {
  const dir = resolve(path);
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    if (!statSync(dir).isDirectory()) throw new Error("it is not a directory");
  } catch (error) {
    const why = codeOf(error) === "EEXIST" ? "it is not a directory" : sentenceOf(error);
    throw new ExitError("usage", `the state directory ${dir} cannot be used: ${why}; choose another with --state-dir`, {
      cause: error,
    });
  }
  return dir;
}

export const KEY_FILE = "key.pem";

/**
 * The Ed25519 key of a state directory (PKCS #8 PEM, mode 0600), made on the first run. Two first runs at once get the same key.
 * @throws ExitError `usage` when others may read the file, or it is no such key.
 */
export function loadIdentity(stateDir: string): Identity {
  const path = join(ensureStateDir(stateDir), KEY_FILE);
  return readKey(path) ?? createKey(path);
}

function readKey(path: string): Identity | null {
  let pem: string;
  try {
    const { mode } = lstatSync(path);
    // The umask cannot have done this: somebody opened the file, or copied it carelessly, and may know the key.
    if (process.platform !== "win32" && (mode & 0o077) !== 0) {
      const octal = (mode & 0o777).toString(8).padStart(4, "0");
      throw new ExitError(
        "usage",
        `the key file ${path} can be read by others (mode ${octal}); run: chmod 600 ${path}`,
      );
    }
    pem = readFileSync(path, "utf8");
  } catch (error) {
    if (codeOf(error) === "ENOENT") return null;
    if (error instanceof ExitError) throw error;
    throw new ExitError("usage", `the key file ${path} cannot be read: ${sentenceOf(error)}`, { cause: error });
  }
  try {
    return Identity.fromPkcs8Pem(pem);
  } catch (error) {
    throw new ExitError(
      "usage",
      `the key file ${path} holds no Ed25519 key in PKCS #8 PEM; put the right one back, or remove it to get a new key (and a new PeerId)`,
      { cause: error },
    );
  }
}

function createKey(path: string): Identity {
  const identity = Identity.generate();
  const temporary = `${path}.${process.pid}.${randomBytes(6).toString("hex")}`;
  try {
    writeFileSync(temporary, identity.toPkcs8Pem(), { mode: 0o600, flag: "wx", flush: true });
    chmodSync(temporary, 0o600);
    // link() fails when the name is taken: nobody ever reads half a key, and the first of two wins.
    linkSync(temporary, path);
    return identity;
  } catch (error) {
    const winner = codeOf(error) === "EEXIST" ? readKey(path) : null;
    if (winner) return winner;
    throw new ExitError("usage", `the key file ${path} cannot be written: ${sentenceOf(error)}`, { cause: error });
  } finally {
    rmSync(temporary, { force: true });
  }
}
