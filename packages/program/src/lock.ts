import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { codeOf, ExitError, sentenceOf } from "./exit.ts";
import { ensureStateDir } from "./state.ts";

/** Holds a state directory for this process. */
export interface StateLock {
  release(): void;
}

/** A file `lock.PID.BIRTH`; the birth tells a process from a later one with the same pid. "0" where it is unknown. */
const LOCK_FILE = /^lock\.([1-9]\d{0,9})\.(\d{1,20})$/;

/** Two programs that start at the same moment both see the other and step back; they try this many times at least... */
const TRIES = 3;
/** ...and for so long, ms: who held it may be on the way out, as ssh does not wait for the end of its ProxyCommand. */
const WAIT_MS = 2_000;

/**
 * Locks a state directory: one directory, one running program. What a dead process left behind is cleared away.
 *
 * Each program writes a file of its own and then looks for others, so of two that start together at least one sees the
 * other; no file is ever taken over, and a dead process's file is named after it alone, so removing it can hit nobody else.
 * Processes in different pid namespaces (containers that share a volume) do not see each other.
 * @throws ExitError `usage` naming the pid that holds it.
 */
export async function lockStateDir(stateDir: string, program: string, waitMs = WAIT_MS): Promise<StateLock> {
  const dir = ensureStateDir(stateDir);
  const until = performance.now() + waitMs;
  const own = `lock.${process.pid}.${birthOf(process.pid) ?? "0"}`;
  for (let tries = 1; ; tries++) {
    if (inThisProcess.has(join(dir, own))) throw heldBy(dir, process.pid, program);
    try {
      writeFileSync(join(dir, own), `${program}\n`, { mode: 0o600 });
    } catch (error) {
      removeIfPossible(join(dir, own)); // a full disk leaves an empty one
      throw new ExitError("usage", `the state directory ${dir} cannot be written: ${sentenceOf(error)}`, {
        cause: error,
      });
    }
    const holder = findHolder(dir, own);
    if (holder === null) return held(join(dir, own));
    rmSync(join(dir, own), { force: true });
    if (tries >= TRIES && performance.now() >= until) throw heldBy(dir, holder.pid, holder.program);
    await sleep(20 + Math.random() * 80);
  }
}

/** On a file system that is read-only nothing can be, and nothing is there. */
function removeIfPossible(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // Why it cannot be written is told by the caller.
  }
}

const inThisProcess = new Set<string>();

function held(path: string): StateLock {
  const release = (): void => {
    if (!inThisProcess.delete(path)) return;
    process.removeListener("exit", release);
    rmSync(path, { force: true });
  };
  inThisProcess.add(path);
  process.once("exit", release);
  return { release };
}

function heldBy(dir: string, pid: number, program: string): ExitError {
  return new ExitError(
    "usage",
    `the state directory ${dir} is in use by ${program} (pid ${pid}); stop that one, or give this one a directory of its own with --state-dir`,
  );
}

/** A living process that has its file in `dir`; files of the dead are removed on the way. */
function findHolder(dir: string, own: string): { pid: number; program: string } | null {
  for (const name of readdirSync(dir)) {
    const match = LOCK_FILE.exec(name);
    if (!match || name === own) continue;
    const pid = Number(match[1]);
    if (isAlive(pid, match[2] ?? "0")) return { pid, program: programIn(join(dir, name)) };
    rmSync(join(dir, name), { force: true });
  }
  return null;
}

function programIn(path: string): string {
  try {
    return readFileSync(path, "utf8").trim() || "another program";
  } catch {
    return "another program"; // it ended just now
  }
}

function isAlive(pid: number, birth: string): boolean {
  if (pid === process.pid) return false; // our own file has another birth: it is from an earlier process
  try {
    process.kill(pid, 0);
  } catch (error) {
    return codeOf(error) === "EPERM"; // it lives, under another user
  }
  const stat = statOf(pid);
  // What has ended and was not waited for, where no init process does, is dead.
  if (stat[0] === "Z" || stat[0] === "X") return false;
  const current = stat[BIRTH] ?? null;
  return current === null || birth === "0" || current === birth;
}

/** When a process was started, in clock ticks since the system booted; null where /proc does not tell. */
const birthOf = (pid: number): string | null => statOf(pid)[BIRTH] ?? null;

/** proc_pid_stat(5): field 22, counted from the state, which is field 3. */
const BIRTH = 19;

/** The fields behind the command's closing parenthesis (the command may hold spaces); none where there is no /proc. */
function statOf(pid: number): readonly string[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  } catch {
    return [];
  }
}
