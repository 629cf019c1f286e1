import { randomBytes } from "node:crypto";
import { chmodSync, linkSync, lstatSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Identity } from "@adit/quic";
import { codeOf, ExitError, sentenceOf } from "./exit.ts";
import { ensureStateDir } from "./state.ts";

const KEY_FILE = "key.pem";

/**
 * The Ed25519 key of a state directory (PKCS #8 PEM, mode 0600), made on the first run. Two first runs at once get the same key.
 * @throws ExitError `usage` when others may read the file, or it is no such key.
 */
export async function loadIdentity(stateDir: string): Promise<Identity> {
  // Only now: this loads the native QUIC library, which `--help` and `status` can do without.
  const keys = (await import("@adit/quic")).Identity;
  const path = join(ensureStateDir(stateDir), KEY_FILE);
  return readKey(keys, path) ?? createKey(keys, path);
}

type Keys = typeof Identity;

function readKey(keys: Keys, path: string): Identity | null {
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
    return keys.fromPkcs8Pem(pem);
  } catch (error) {
    throw new ExitError(
      "usage",
      `the key file ${path} holds no Ed25519 key in PKCS #8 PEM; put the right one back, or remove it to get a new key (and a new PeerId)`,
      { cause: error },
    );
  }
}

function createKey(keys: Keys, path: string): Identity {
  const identity = keys.generate();
  const temporary = `${path}.${process.pid}.${randomBytes(6).toString("hex")}`;
  try {
    writeFileSync(temporary, identity.toPkcs8Pem(), { mode: 0o600, flag: "wx", flush: true });
    chmodSync(temporary, 0o600);
    // link() fails when the name is taken: nobody ever reads half a key, and the first of two wins.
    linkSync(temporary, path);
    return identity;
  } catch (error) {
    const winner = codeOf(error) === "EEXIST" ? readKey(keys, path) : null;
    if (winner) return winner;
    throw new ExitError("usage", `the key file ${path} cannot be written: ${sentenceOf(error)}`, { cause: error });
  } finally {
    rmSync(temporary, { force: true });
  }
}
